"""The schema that a table's content shows: types, nullability, ranges, categories."""

from __future__ import annotations

from typing import Any

__all__ = ["infer"]

MOST_CATEGORIES = 50


def infer(table: Any) -> list[dict[str, Any]]:
    """Infer the schema of a table in its one form (see :mod:`mlops_magics.store.content`).

    Parameters
    ----------
    table : pyarrow.Table
        The content.

    Returns
    -------
    list of dict
        For each column ``name``, ``type`` (integer, number, boolean, text, datetime, datetime
        (UTC), duration) and ``nullable``; ``min`` and ``max`` where values have an order (times
        as ISO 8601); ``categories`` for a text column of at most 50 different values, else
        ``distinct``; ``unique`` where no value is there twice.

    Examples
    --------
    >>> import pyarrow as pa
    >>> infer(pa.table({"carrier": ["UA", "AA", "UA"]}))
    [{'name': 'carrier', 'type': 'text', 'nullable': False, 'categories': ['AA', 'UA']}]
    """
    return [_column(name, table[name]) for name in table.column_names]


def _column(name: str, column: Any) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = _kind(column.type)
    facts: dict[str, Any] = {"name": name, "type": kind, "nullable": column.null_count > 0}
    if column.null_count == len(column):
        return facts
    if kind == "text":
        distinct = pc.unique(column.drop_null())
        if len(distinct) <= MOST_CATEGORIES:
            facts["categories"] = sorted(distinct.to_pylist())
        else:
            facts["distinct"] = len(distinct)
            if len(distinct) == len(column):
                facts["unique"] = True
    elif kind in {"integer", "number"}:
        facts |= pc.min_max(column).as_py()
        if kind == "integer" and pc.count_distinct(column).as_py() == len(column):
            facts["unique"] = True
    elif kind != "boolean":
        bounds = pc.min_max(column)
        facts |= {side: str(bounds[side].cast(pa.string())) for side in ("min", "max")}
    return facts


def _kind(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return "datetime (UTC)" if kind.tz else "datetime"
    for test, name in (
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_duration, "duration"),
    ):
        if test(kind):
            return name
    return "text"
