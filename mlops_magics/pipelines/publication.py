"""The JSON schema of ``pipeline.yaml``, for editors and CI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_magics.cards import Block, Card
from mlops_magics.pipelines.specification import schema
from mlops_magics.records import Record

__all__ = ["PipelineSchema", "pipeline_schema"]


@dataclass(frozen=True)
class PipelineSchema(Record):
    """The JSON schema of ``pipeline.yaml``; as text and JSON it is the schema itself.

    Attributes
    ----------
    schema : mapping
    """

    schema: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the schema."""
        return dict(self.schema)

    def __str__(self) -> str:
        return json.dumps(self.schema, indent=2, ensure_ascii=False)

    def card(self) -> Card:
        """Return the schema as text."""
        return Card("pipeline.yaml", subtitle="JSON schema", facts=[("schema", Block(str(self)))])


def pipeline_schema() -> PipelineSchema:
    """Return the JSON schema of ``pipeline.yaml``.

    An editor checks a file by it that begins with
    ``# yaml-language-server: $schema=pipeline.schema.json``.

    Examples
    --------
    >>> sorted(pipeline_schema().schema["required"])
    ['name', 'steps']
    """
    return PipelineSchema(schema())
