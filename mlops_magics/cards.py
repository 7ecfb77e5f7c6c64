"""Cards: how a record looks, as text in a shell and as HTML in a notebook.

Everything that comes from data is escaped; colours are the notebook's own theme variables, so
light and dark both read well. There is no script in a card.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

__all__ = ["Badge", "Card", "Code", "Grid", "Interval", "Spark", "Time"]

Tone = Literal["good", "bad", "warn", "neutral"]
_SIGNS = {"good": "✓", "bad": "✗", "warn": "!", "neutral": "·"}
_BLOCKS = "▁▂▃▄▅▆▇█"


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
class Code:
    """Text in the code font: a command, an id, a digest."""

    text: str


@dataclass(frozen=True)
class Time:
    """A moment, seconds since 1970, shown in local time."""

    seconds: float | None


@dataclass(frozen=True)
class Grid:
    """A table: titles and rows of cells (plain values or the classes above)."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""


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
        lines += [f"  {_pad(name, width)}  {text(value)}" for name, value in self.facts]
        for grid in self.grids:
            lines += [""] if len(lines) > 1 else []
            lines += [f"  {grid.title}"] if grid.title else []
            lines += _columns(grid)
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  → {command}" for command in self.next]
        return "\n".join(lines)

    def html(self) -> str:
        """Return the card for a notebook."""
        parts = [f'<div class="mlops-card"><style>{_STYLE}</style>', '<div class="mlops-head">']
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
        parts += [f'<p class="mlops-note">{html.escape(note)}</p>' for note in self.notes]
        if self.next:
            commands = "".join(f"<code>{html.escape(command)}</code>" for command in self.next)
            parts.append(f'<p class="mlops-next"><span>next</span>{commands}</p>')
        parts.append("</div>")
        return "".join(parts)


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
    if isinstance(value, Code):
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


def _columns(grid: Grid) -> list[str]:
    table = [[text(cell).replace("\n", " ") for cell in row] for row in grid.rows]
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
    if isinstance(value, Interval) and value.low is not None and value.high is not None:
        interval = f"{text(value.low)} – {text(value.high)}"
        bounds = f'<span class="mlops-ci">{html.escape(interval)}</span>'
        return f"{html.escape(text(value.value))} {bounds}"
    return html.escape(text(value))


def _grid_html(grid: Grid) -> str:
    title = f'<div class="mlops-grid-title">{html.escape(grid.title)}</div>' if grid.title else ""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in grid.columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=mlops-num' if _numeric(cell) else ''}>{_cell_html(cell)}</td>"
            for cell in row
        )
        + "</tr>"
        for row in grid.rows
    )
    return (
        f'{title}<div class="mlops-scroll"><table class="mlops-grid"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _spark_html(spark: Spark) -> str:
    values = list(spark.values)
    reference = list(spark.reference or [])
    top = max([*values, *reference], default=0)
    if top <= 0:
        return "–"
    step, height = 6, 18
    width = step * max(len(values), len(reference))

    def bars(series: Sequence[float], style: str) -> str:
        return "".join(
            f'<rect x="{i * step}" y="{height - height * v / top:.1f}" width="{step - 1}" '
            f'height="{height * v / top:.1f}" class="{style}"/>'
            for i, v in enumerate(series)
        )

    return (
        f'<svg class="mlops-spark" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="distribution">'
        f"{bars(reference, 'mlops-ref')}{bars(values, 'mlops-bar')}</svg>"
    )


# a card brings its style along: outputs are shown one by one, in any frontend
_STYLE = """
.mlops-card{font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);
color:var(--jp-ui-font-color1,inherit);border:1px solid var(--jp-border-color2,#bdbdbd80);
border-radius:6px;padding:10px 14px;margin:4px 0;max-width:960px;box-sizing:border-box}
.mlops-head{display:flex;gap:10px;align-items:baseline;flex-wrap:wrap}
.mlops-title{font-size:15px;font-weight:600}
.mlops-sub,.mlops-ci,.mlops-note{color:var(--jp-ui-font-color2,#757575)}
.mlops-badge{font-size:12px;font-weight:600;padding:0 8px;border-radius:9px;border:1px solid}
.mlops-good{color:var(--jp-success-color1,#1b7f5c)}.mlops-bad{color:var(--jp-error-color1,#c62828)}
.mlops-warn{color:var(--jp-warn-color1,#b26a00)}
.mlops-neutral{color:var(--jp-ui-font-color2,#757575)}
.mlops-facts{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:8px 0 4px}
.mlops-facts dt{color:var(--jp-ui-font-color2,#757575);font-weight:400}
.mlops-facts dd{margin:0;overflow-wrap:anywhere}
.mlops-scroll{overflow-x:auto}.mlops-grid-title{font-weight:600;margin-top:10px}
.mlops-card table.mlops-grid{border-collapse:collapse;margin:6px 0;font-size:13px}
.mlops-card .mlops-grid th,.mlops-card .mlops-grid td{text-align:left;padding:3px 14px 3px 0;
background:none;border:0;border-bottom:1px solid var(--jp-border-color3,#e0e0e060)}
.mlops-card .mlops-grid th{color:var(--jp-ui-font-color2,#757575);font-weight:500}
.mlops-card .mlops-grid td.mlops-num{text-align:right;font-variant-numeric:tabular-nums}
.mlops-card code{font-family:var(--jp-code-font-family,monospace);font-size:12px}
.mlops-bar{fill:var(--jp-brand-color1,#1976d2)}.mlops-ref{fill:var(--jp-border-color1,#9e9e9e)}
.mlops-next{margin:8px 0 0}.mlops-next span{color:var(--jp-ui-font-color2,#757575);margin-right:8px}
.mlops-next code{margin-right:14px}
"""
