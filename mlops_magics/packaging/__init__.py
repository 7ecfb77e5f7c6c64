"""Model packaging: a folder that predicts anywhere, with the evidence of what it is."""

from mlops_magics.packaging.package import Package, check, package

__all__ = ["Package", "check", "package"]
