"""Log policies: what an endpoint's inference table is to keep, as a person asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.monitoring import spans

__all__ = ["MODES", "log_settings"]

MODES = ("durable", "strict", "off")


def log_settings(
    package: Path,
    *,
    mode: str | None = None,
    fraction: float | None = None,
    mask: str | Sequence[str] | None = None,
    retention: str | float | None = None,
) -> dict[str, Any]:
    """Return the parts of an endpoint's log policy that are asked for; none stays as it is.

    Parameters
    ----------
    package : Path
        Whose signature names the columns that can be masked.
    mode : {"durable", "strict", "off"}, optional
        What `LogPolicy` says of them.
    fraction : float, optional
        Of the requests, those that are kept: above 0 and at most 1.
    mask : str or sequence of str, optional
        Input columns whose values are not kept; an empty one masks none.
    retention : str or float, optional
        How long rows are kept: ``"30d"``, or seconds; ``"forever"`` keeps them.

    Raises
    ------
    InvalidArgument
        One of them cannot be.
    UnknownName
        A column that the model does not have.
    """
    found: dict[str, Any] = {}
    if mode is not None:
        if mode not in MODES:
            raise InvalidArgument(f"log = {mode!r} is none of {', '.join(map(repr, MODES))}")
        found["mode"] = mode
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise InvalidArgument(
                f"log_fraction = {fraction!r} is not between 0 and 1",
                hint="0.1 keeps a tenth of the requests; --log off keeps none",
            )
        found["fraction"] = float(fraction)
    if mask is not None:
        parts = mask.split(",") if isinstance(mask, str) else mask
        names = [name for part in parts if (name := part.strip())]
        manifest = json.loads((package / "mlops" / "manifest.json").read_bytes())
        known = _columns(manifest)
        for name in names:
            if name not in known:
                raise UnknownName("input column", name, known)
        found["mask"] = names
    if retention is not None:
        found["retention"] = None if retention == "forever" else spans.seconds(retention)
    return found


def _columns(manifest: Mapping[str, Any]) -> list[str]:
    inputs = (manifest.get("signature") or {}).get("inputs") or []
    if isinstance(inputs, str):
        inputs = json.loads(inputs)
    return [str(column["name"]) for column in inputs]
