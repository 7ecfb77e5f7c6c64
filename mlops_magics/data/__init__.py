"""Data ingestion: sources to dataset versions, and the catalogue of them."""

from mlops_magics.data.catalogue import Dataset, Datasets, dataset, datasets
from mlops_magics.data.ingestion import ingest

__all__ = ["Dataset", "Datasets", "dataset", "datasets", "ingest"]
