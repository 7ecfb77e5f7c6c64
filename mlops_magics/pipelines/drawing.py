"""Drawings of a run, as SVG: the graph of its steps, and when each of them ran."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence

from mlops_magics.pipelines.result import PipelineRun, PipelineStep

__all__ = ["graph", "timeline"]

_WIDE, _HIGH = 168, 46  # of a step's box
_GAP, _BETWEEN = 56, 18  # between columns, and between the boxes of one
_LABELS = 150  # columns left of the bars
_BARS = 780
_ROW = 26


def graph(run: PipelineRun, needs: Mapping[str, Sequence[str]], links: Collection[str]) -> str:
    """Draw the steps, each right of those that it needs.

    Parameters
    ----------
    run : PipelineRun
        Its steps are drawn.
    needs : mapping
        For each step the steps that had to end before it, in an order that respects them.
    links : collection of str
        Steps whose boxes are links, to ``#step-NAME``.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    columns = _columns(needs)
    tallest = max(map(len, columns), default=0)
    height = tallest * (_HIGH + _BETWEEN) - _BETWEEN + 4
    places: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        top = (height - len(column) * (_HIGH + _BETWEEN) + _BETWEEN) / 2
        for row, name in enumerate(column):
            places[name] = (2 + number * (_WIDE + _GAP), top + row * (_HIGH + _BETWEEN))
    width = len(columns) * (_WIDE + _GAP) - _GAP + 4
    lines = [
        _curve(places[need], places[name])
        for name, direct in _direct(needs).items()
        for need in direct
    ]
    boxes = [_box(item, places[item.step], link=item.step in links) for item in run.steps]
    return _svg(width, height, "the steps and what they need", [*lines, *boxes])


def timeline(run: PipelineRun) -> str:
    """Draw when each step ran, from the run's start.

    Returns
    -------
    str
        An ``<svg>`` element; empty when no step began.
    """
    begun = [item for item in run.steps if item.started is not None and not item.cached_from]
    if not begun:
        return ""
    end = max(run.ended or 0, *(item.ended or item.started or 0 for item in begun))
    span = max(end - run.started, 0.001)
    tick = _tick(span)
    parts = []
    height = len(begun) * _ROW + 26
    for number in range(int(span / tick) + 1):
        x = _LABELS + number * tick / span * _BARS
        parts.append(f'<line class="tick" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 20}"/>')
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{height - 5}">{_seconds(number * tick)}</text>'
        )
    for row, item in enumerate(begun):
        assert item.started is not None
        x = _LABELS + (item.started - run.started) / span * _BARS
        wide = max(3.0, ((item.ended or end) - item.started) / span * _BARS)
        y = row * _ROW + 4
        name = html.escape(item.step)
        label = _cut(item.step, 20)
        parts.append(f'<text class="name" x="{_LABELS - 10}" y="{y + 13}">{label}</text>')
        parts.append(
            f'<rect class="bar {_kind(item)}" x="{x:.1f}" y="{y}" width="{wide:.1f}" '
            f'height="{_ROW - 8}" rx="4"><title>{name}: {html.escape(item.status)}</title></rect>'
        )
        took = "" if item.seconds is None else _seconds(item.seconds)
        inside = wide > 60
        at = x + wide - 8 if inside else x + wide + 6
        style = "inside" if inside else "beside"
        parts.append(f'<text class="{style}" x="{at:.1f}" y="{y + 13}">{took}</text>')
    return _svg(_LABELS + _BARS + 60, height, "when each step ran", parts)


def _columns(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    depth: dict[str, int] = {}
    for name, before in needs.items():
        depth[name] = max((depth[need] + 1 for need in before), default=0)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, number in depth.items():
        columns[number].append(name)
    return columns


def _direct(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Leave out needs that another need has itself: a line for them would tell nothing."""
    reached: dict[str, set[str]] = {}
    for name, before in needs.items():
        reached[name] = set(before).union(*(reached[need] for need in before))
    return {
        name: [need for need in before if not any(need in reached[other] for other in before)]
        for name, before in needs.items()
    }


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    x, y, to_x, to_y = start[0] + _WIDE, start[1] + _HIGH / 2, end[0], end[1] + _HIGH / 2
    middle = (x + to_x) / 2
    return (
        f'<path class="edge" d="M{x:g},{y:g} C{middle:g},{y:g} {middle:g},{to_y:g} '
        f'{to_x:g},{to_y:g}"/>'
    )


def _box(item: PipelineStep, place: tuple[float, float], *, link: bool) -> str:
    x, y = place
    name = html.escape(item.step, quote=True)
    below = item.status.lower() + ("" if item.spent is None else f" · {_seconds(item.spent)}")
    box = (
        f'<g class="box {_kind(item)}"><title>{name}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDE}" height="{_HIGH}" rx="8"/>'
        f'<rect class="side" x="{x:g}" y="{y + 8:g}" width="4" height="{_HIGH - 16}" rx="2"/>'
        f'<text class="title" x="{x + 14:g}" y="{y + 20:g}">{_cut(item.step, 20)}</text>'
        f'<text class="state" x="{x + 14:g}" y="{y + 36:g}">{html.escape(below)}</text></g>'
    )
    return f'<a href="#step-{name}">{box}</a>' if link else box


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _kind(item: PipelineStep) -> str:
    """Return the class by which a status is coloured."""
    known = {"FINISHED": "good", "FAILED": "bad", "CRASHED": "bad", "KILLED": "warn"}
    known |= {"RUNNING": "now", "CACHED": "cached"}
    return known.get(item.status, "none")


def _tick(span: float) -> float:
    """Return a round step that gives some six ticks."""
    rough = span / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= rough)


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"


def _cut(name: str, width: int) -> str:
    return html.escape(name if len(name) <= width else f"{name[: width - 1]}…")
