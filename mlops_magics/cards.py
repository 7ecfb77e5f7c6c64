"""Cards: how a record looks, as text in a shell and as HTML in a notebook.

Everything that comes from data is escaped; colours are the notebook's own theme variables, so
light and dark both read well. There is no script in a card.
"""

from __future__ import annotations

import base64
import functools
import html
import itertools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from mlops_magics.errors import magic_form, printable

__all__ = ["Badge", "Block", "Card", "Code", "Grid", "Interval", "Meter", "Spark", "Time", "image"]

Tone = Literal["good", "bad", "warn", "neutral"]
_SIGNS = {"good": "✓", "bad": "✗", "warn": "!", "neutral": "·"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDEST = 60  # columns of a terminal that a cell may take


@dataclass(frozen=True)
class Badge:
    """A state in a word, with its tone; never told by colour alone."""

    text: str
    tone: Tone = "neutral"


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval.

    Examples
    --------
    >>> text(Interval(0.7412, 0.7311, 0.7513))
    '0.7412 [0.7311, 0.7513]'
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Spark:
    """Bars in a line; a second series is drawn behind as the reference.

    Examples
    --------
    >>> text(Spark([0, 1, 3]))
    '▁▃█'
    """

    values: Sequence[float]
    reference: Sequence[float] | None = None


@dataclass(frozen=True)
class Meter:
    """How much of something is done.

    Examples
    --------
    >>> text(Meter(3, 8))
    '3 of 8'
    """

    done: float
    total: float


@dataclass(frozen=True)
class Code:
    """Text in the code font: a command, an id, a digest."""

    text: str


@dataclass(frozen=True)
class Block:
    """Lines in the code font, as they are: a cell's source, a printed text."""

    text: str


@dataclass(frozen=True)
class Time:
    """A moment, seconds since 1970, shown in local time."""

    seconds: float | None


@dataclass(frozen=True)
class Grid:
    """A table: titles and rows of cells (plain values or the classes above).

    Rows beyond ``shown`` are folded away: a reader opens them, a terminal is told how many.

    Examples
    --------
    >>> print(Card("x", grids=[Grid(["n"], [[1], [2], [3]], shown=1)]).text().splitlines()[-1])
      … 2 more
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    shown: int | None = None

    @property
    def folded(self) -> int:
        """How many rows are folded away; a single one is not worth a fold."""
        rest = len(self.rows) - self.shown if self.shown is not None else 0
        return rest if rest > 1 else 0


@dataclass(frozen=True)
class Card:
    """What a reader sees of a record.

    Attributes
    ----------
    title, subtitle : str
        Headline; the subtitle is set in grey behind it.
    badge : Badge, optional
        The state.
    facts : sequence of (name, value)
        Short facts.
    grids : sequence of Grid
        Tables below the facts.
    parts : sequence of Card
        Cards inside this one, below the tables.
    notes : sequence of str
        Sentences: what is missing, what was not done and why.
    next : sequence of str
        Commands that one would run next.

    Examples
    --------
    >>> print(Card("flights", badge=Badge("new", "good"), facts=[("rows", 12)]).text())
    flights  ✓ new
      rows  12
    """

    title: str
    subtitle: str = ""
    badge: Badge | None = None
    facts: Sequence[tuple[str, Any]] = ()
    grids: Sequence[Grid] = ()
    parts: Sequence[Card] = ()
    notes: Sequence[str] = ()
    next: Sequence[str] = field(default=())

    def text(self) -> str:
        """Return the card for a terminal."""
        head = "  ".join(
            part
            for part in (self.title, self.subtitle, text(self.badge) if self.badge else "")
            if part
        )
        lines = [head]
        width = max((_width(name) for name, _ in self.facts), default=0)
        further = "\n" + " " * (width + 4)  # lines after the first stand below it
        lines += [
            line
            for name, value in self.facts
            for line in f"  {_pad(name, width)}  {text(value)}".replace("\n", further).split("\n")
        ]
        for grid in self.grids:
            lines += [""] if len(lines) > 1 else []
            lines += [f"  {grid.title}"] if grid.title else []
            lines += _columns(grid)
            lines += [f"  … {grid.folded} more"] if grid.folded else []
        for part in self.parts:
            lines += ["", *(f"  {line}" for line in part.text().splitlines())]
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  → {command}" for command in self.next]
        return printable("\n".join(line.rstrip() for line in lines))

    def html(self) -> str:
        """Return the card for a notebook."""
        return f'<div class="mlops-card"><style>{_style()}</style>{self._body()}</div>'

    def _body(self) -> str:
        parts = ['<div class="mlops-head">']
        parts.append(f'<span class="mlops-title">{html.escape(self.title)}</span>')
        if self.subtitle:
            parts.append(f'<span class="mlops-sub">{html.escape(self.subtitle)}</span>')
        if self.badge:
            parts.append(_cell_html(self.badge))
        parts.append("</div>")
        if self.facts:
            rows = "".join(
                f"<dt>{html.escape(name)}</dt><dd>{_cell_html(value)}</dd>"
                for name, value in self.facts
            )
            parts.append(f'<dl class="mlops-facts">{rows}</dl>')
        parts += [_grid_html(grid) for grid in self.grids]
        parts += [f'<div class="mlops-part">{part._body()}</div>' for part in self.parts]
        notes = (html.escape(magic_form(note)) for note in self.notes)
        parts += [f'<p class="mlops-note">{note}</p>' for note in notes]
        if self.next:
            # a card in HTML stands in a notebook, where the verb is a magic
            magics = map(magic_form, self.next)
            commands = "".join(f"<code>{html.escape(magic)}</code>" for magic in magics)
            parts.append(f'<p class="mlops-next"><span>next</span>{commands}</p>')
        return "".join(parts)


def image(svg: str, alt: str) -> str:
    """Return a drawing as an ``<img>``.

    In an image a browser runs nothing that might be inside, and the sanitisers of JupyterLab and
    GitHub let it through, which they do not with inline SVG.

    Examples
    --------
    >>> image("<svg/>", "nothing")[:24]
    '<img alt="nothing" style'
    """
    data = base64.b64encode(svg.encode()).decode()
    style = "display:block;max-width:100%;height:auto"
    name = html.escape(alt, quote=True)
    return f'<img alt="{name}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def text(value: Any) -> str:
    """Return a cell's value as text; None is an en dash, never a zero.

    Examples
    --------
    >>> text(None), text(336776), text(0.123456), text(True)
    ('–', '336,776', '0.1235', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, Badge):
        return f"{_SIGNS[value.tone]} {value.text}"
    if isinstance(value, Interval):
        if value.low is None or value.high is None:
            return text(value.value)
        return f"{text(value.value)} [{text(value.low)}, {text(value.high)}]"
    if isinstance(value, Spark):
        return _spark(value.values)
    if isinstance(value, Meter):
        return f"{text(value.done)} of {text(value.total)}"
    if isinstance(value, (Block, Code)):
        return value.text
    if isinstance(value, Time):
        if value.seconds is None:
            return "–"
        return datetime.fromtimestamp(value.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text(item) for item in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{key}={text(item)}" for key, item in value.items()) or "–"
    return str(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _spark(values: Sequence[float]) -> str:
    top = max(values, default=0)
    if top <= 0:
        return ""
    return "".join(_BLOCKS[min(7, round(value / top * 7))] for value in values)


def _width(string: str) -> int:
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in string)


def _pad(string: str, width: int, right: bool = False) -> str:
    space = " " * max(0, width - _width(string))
    return space + string if right else string + space


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _line(cell: Any) -> str:
    line = text(cell).replace("\n", " ")
    # a command or an id is there to be copied
    if isinstance(cell, Code) or _width(line) <= _WIDEST:
        return line
    ends = itertools.accumulate(map(_width, line))
    return line[: sum(end < _WIDEST for end in ends)] + "…"


def _columns(grid: Grid) -> list[str]:
    rows = grid.rows[: len(grid.rows) - grid.folded]
    table = [[_line(cell) for cell in row] for row in rows]
    right = [
        any(_numeric(row[i]) for row in grid.rows)
        and all(row[i] is None or _numeric(row[i]) for row in grid.rows)
        for i in range(len(grid.columns))
    ]
    widths = [
        max([_width(title), *(_width(row[i]) for row in table)])
        for i, title in enumerate(grid.columns)
    ]
    lines = [
        "  ".join(_pad(cell, width, r) for cell, width, r in zip(row, widths, right, strict=True))
        for row in [list(grid.columns), *table]
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return [f"  {line}".rstrip() for line in lines]


def _cell_html(value: Any) -> str:
    if isinstance(value, Badge):
        return f'<span class="mlops-badge mlops-{value.tone}">{html.escape(text(value))}</span>'
    if isinstance(value, Spark):
        return _spark_html(value)
    if isinstance(value, Code):
        return f"<code>{html.escape(value.text)}</code>"
    if isinstance(value, Meter):
        share = 100 * min(1.0, value.done / value.total) if value.total else 0
        label = html.escape(text(value))
        return (
            f'<span class="mlops-meter" title="{label}"><i style="width:{share:.0f}%"></i></span>'
            f'<span class="mlops-ci">{label}</span>'
        )
    if isinstance(value, Block):
        return f'<pre class="mlops-block">{html.escape(value.text)}</pre>'
    if isinstance(value, Interval) and value.low is not None and value.high is not None:
        interval = f"{text(value.low)} – {text(value.high)}"
        bounds = f'<span class="mlops-ci">{html.escape(interval)}</span>'
        return f"{html.escape(text(value.value))} {bounds}"
    return html.escape(text(value))


def _grid_html(grid: Grid) -> str:
    title = f'<div class="mlops-grid-title">{html.escape(grid.title)}</div>' if grid.title else ""
    numeric = [any(_numeric(row[i]) for row in grid.rows) for i in range(len(grid.columns))]
    head = "".join(
        f"<th{' class=mlops-num' if right else ''}>{html.escape(column)}</th>"
        for column, right in zip(grid.columns, numeric, strict=True)
    )
    rows = [
        "<tr>"
        + "".join(
            f"<td{' class=mlops-num' if right and (cell is None or _numeric(cell)) else ''}>"
            f"{_cell_html(cell)}</td>"
            for cell, right in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in grid.rows
    ]
    shown = len(rows) - grid.folded
    table = (
        f'<div class="mlops-scroll"><table class="mlops-grid"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows[:shown])}</tbody></table></div>"
    )
    if grid.folded:
        table += (
            f'<details class="mlops-fold"><summary>{grid.folded} more</summary>'
            '<div class="mlops-scroll"><table class="mlops-grid"><tbody>'
            f"{''.join(rows[shown:])}</tbody></table></div></details>"
        )
    return title + table


def _spark_html(spark: Spark) -> str:
    values = list(spark.values)
    reference = list(spark.reference or [])
    top = max([*values, *reference], default=0)
    if top <= 0:
        return "–"
    step, height = 6, 18
    width = step * max(len(values), len(reference))
    # the reference stands behind, as wide as its bin; what is now before it, narrower
    inset = 1.5 if reference else 0

    def bars(series: Sequence[float], style: str, inset: float = 0) -> str:
        return "".join(
            f'<rect x="{i * step + inset:g}" y="{height - height * v / top:.1f}" '
            f'width="{step - 1 - 2 * inset:g}" '
            f'height="{height * v / top:.1f}" class="{style}"/>'
            for i, v in enumerate(series)
        )

    return (
        f'<svg class="mlops-spark" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="distribution">'
        f"{bars(reference, 'mlops-ref')}{bars(values, 'mlops-bar', inset)}</svg>"
    )


@functools.cache
def _style() -> str:
    """Return the style that each card brings along, as frontends show outputs one by one."""
    return Path(__file__).with_name("cards.css").read_text("utf-8")
