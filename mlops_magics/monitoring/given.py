"""What was given as labels: any of its forms as ids and values, in order, with their rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mlops_magics.errors import InvalidArgument, SourceUnreadable, UnknownName
from mlops_magics.store import datasets

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Given", "pairs"]


class Given(NamedTuple):
    """One label as it was given.

    Attributes
    ----------
    row : int
        Its place, counted from 1.
    name : str or None
        The id.
    label : object
        None where there is none.
    differs : bool
        Whether it contradicts another one of the same prediction.
    """

    row: int
    name: str | None
    label: Any
    differs: bool = False


def pairs(labels: Any, id_column: str, label_column: str, workspace: Workspace) -> list[Given]:
    """Return labels with their ids, whatever they were given as.

    Raises
    ------
    InvalidArgument
        It is none of the forms that labels come in.
    UnknownName
        A column, or a key, that is not there.
    SourceUnreadable
        The file cannot be read.
    """
    import pandas as pd

    if isinstance(labels, (str, Path)):
        labels = _read(labels, id_column, workspace)
    if isinstance(labels, pd.Series):
        found: Iterable[tuple[Any, Any]] = zip(labels.index, labels.tolist(), strict=True)
    elif isinstance(labels, pd.DataFrame):
        for column in (id_column, label_column):
            if column not in labels.columns:
                raise UnknownName("column", column, map(str, labels.columns))
        found = zip(labels[id_column].tolist(), labels[label_column].tolist(), strict=True)
    elif isinstance(labels, Mapping):
        found = labels.items()
    elif isinstance(labels, Sequence) and all(isinstance(entry, Mapping) for entry in labels):
        for entry in labels:
            for column in (id_column, label_column):
                if column not in entry:
                    raise UnknownName("key", column, map(str, entry))
        found = ((entry[id_column], entry[label_column]) for entry in labels)
    else:
        raise InvalidArgument(
            f"labels of type {type(labels).__name__} cannot be used",
            hint="give a DataFrame, a Series, a mapping of ids to labels, a list of mappings, a "
            "file or a dataset",
        )
    return [
        Given(place, None if _null(name) else _text(name), None if _null(label) else _plain(label))
        for place, (name, label) in enumerate(found, start=1)
    ]


def _read(labels: str | Path, id_column: str, workspace: Workspace) -> Any:
    """Read a file by its suffix; any other text names a dataset."""
    path = Path(labels)
    suffixes = "".join(path.suffixes[-2:]).lower()
    reader = _READERS.get(suffixes) or _READERS.get(path.suffix.lower())
    if reader is None:
        if isinstance(labels, Path):
            raise InvalidArgument(
                f"{str(path)!r} is no table that can be read", hint=f"known: {', '.join(_READERS)}"
            )
        return datasets.read(workspace, labels)
    try:
        return reader(path, id_column)
    except (OSError, ValueError, msgspec.MsgspecError) as exc:
        raise SourceUnreadable(f"{str(path)!r} cannot be read: {exc}") from exc


def _csv(path: Path, id_column: str) -> Any:
    import pandas as pd

    # an id of digits keeps its zeros
    return pd.read_csv(path, dtype={id_column: str})


def _parquet(path: Path, id_column: str) -> Any:
    import pandas as pd

    return pd.read_parquet(path)


def _lines(path: Path, id_column: str) -> Any:
    import pandas as pd

    with path.open("rb") as file:
        return pd.DataFrame([msgspec.json.decode(line) for line in file if line.strip()])


_READERS: dict[str, Callable[[Path, str], Any]] = {
    ".csv": _csv,
    ".csv.gz": _csv,
    ".parquet": _parquet,
    ".jsonl": _lines,
}


def _null(value: Any) -> bool:
    # NaN, NaT and pandas' NA in turn
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (not isinstance(value, str) and str(value) in ("NaT", "<NA>"))
    )


def _text(name: Any) -> str:
    # a column of whole numbers with a gap holds floats
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label
