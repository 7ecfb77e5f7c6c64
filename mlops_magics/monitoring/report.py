"""A window as one HTML file: the verb ``monitor_report``."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Card, Code, Time, image, text
from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import drawing
from mlops_magics.monitoring.picture import MonitorPicture, monitor
from mlops_magics.records import Record
from mlops_magics.store.workspace import Workspace, resolve, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MonitorReport", "monitor_report"]


@dataclass(frozen=True)
class MonitorReport(Record):
    """The report of a window.

    Attributes
    ----------
    endpoint, state : str
        Of the picture.
    since, until : float
        The window, seconds since 1970.
    drifted : list of str
        Columns that differ from the training data.
    path : str
        The HTML file.
    size : int
        Bytes.
    """

    endpoint: str
    state: str
    since: float
    until: float
    drifted: list[str]
    path: str
    size: int

    def card(self) -> Card:
        """Tell where it is."""
        facts: list[tuple[str, Any]] = [("from", Time(self.since)), ("to", Time(self.until))]
        facts += [("drifted", ", ".join(self.drifted) or "none"), ("report", Code(self.path))]
        facts.append(("size", Code(f"{self.size / 1000:,.0f} kB")))
        return Card(self.endpoint, subtitle="report of a window", facts=facts)


def monitor_report(
    endpoint: str,
    *,
    last: str | float = "1h",
    since: float | str | datetime | None = None,
    until: float | str | datetime | None = None,
    output: Path | str | None = None,
    workspace: Workspace | None = None,
) -> MonitorReport:
    """Write a window's report: a single HTML file that needs nothing else and runs nothing.

    It has the picture of the window, its alerts, quality, and each column beside the training
    data, the most different first.

    Parameters
    ----------
    endpoint : str
        Its name.
    last, since, until
        The window, as for `monitor`.
    output : path, optional
        The file; default: ``ENDPOINT-monitor.html`` in the working directory.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    InvalidArgument
        The range cannot be understood, or the file cannot be written.

    Examples
    --------
    >>> monitor_report("flight-delai", workspace=workspace)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlops_magics.errors.EndpointNotFound: no endpoint 'flight-delai'...
    """
    workspace = resolve(workspace)
    picture = monitor(endpoint, last=last, since=since, until=until, workspace=workspace)
    path = Path(output or f"{endpoint}-monitor.html").expanduser().absolute()
    content = _page(picture).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as exc:
        raise InvalidArgument(f"{path} cannot be written: {exc.strerror}") from exc
    return MonitorReport(
        endpoint=picture.endpoint,
        state=picture.state,
        since=picture.since,
        until=picture.until,
        drifted=[one["name"] for one in _columns(picture) if one["drifted"]],
        path=str(path),
        size=len(content),
    )


def _columns(picture: MonitorPicture) -> Sequence[Mapping[str, Any]]:
    return [*([picture.prediction] if picture.prediction else []), *picture.features]


def _page(picture: MonitorPicture) -> str:
    return str(
        _template().render(
            picture=picture,
            drawing=image(picture.svg(), f"{picture.endpoint} over the window"),
            card=picture.card().html(),
            columns=[(one, _facts(one), _histogram(one)) for one in _columns(picture)],
            since=text(Time(picture.since)),
            until=text(Time(picture.until)),
            version=metadata.version("mlops-magics"),
            now=text(Time(time.time())),
        )
    )


def _histogram(column: Mapping[str, Any]) -> str:
    return image(drawing.column(column), f"{column['name']}: training and this window")


def _facts(column: Mapping[str, Any]) -> list[tuple[str, str]]:
    nulls = column["nulls"]
    facts: list[tuple[str, Any]] = [
        ("population stability index", column["psi"]),
        ("Jensen-Shannon distance", column["js"]),
        ("Wasserstein distance", column["wasserstein"]),
        ("p-value", column["p_value"]),
        ("p-value, corrected", column["q_value"]),
        ("missing in training", nulls.get("reference")),
        ("missing in this window", nulls.get("current")),
        ("values of a wrong type", column["invalid"]),
    ]
    found = [(name, "–" if value is None else f"{value:.4g}") for name, value in facts]
    if column["unseen"]:
        found.append(("not seen in training", ", ".join(map(str, column["unseen"][:12]))))
    return found


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mlops_magics.monitoring", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markup"] = Markup  # a card's and an image's own texts are escaped
    return environment.get_template("report.html.j2")
