"""A picture drawn: what a saved notebook shows where no script runs.

The drawing is shown as an image and cannot know the page's theme, so it has no ground of its own
and its colours are middle tones that read on white and on black.
"""

from __future__ import annotations

import html
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlops_magics import cards

__all__ = ["column", "draw"]

WIDTH, MARGIN, GAP = 960, 16, 24
INK, QUIET, REFERENCE = "#7d7d7d", "#8c8c8c", "#9aa0a6"
CURRENT, WARN, BAD, GOOD = "#3d8bd4", "#cf8a1d", "#d9534f", "#2e9e6b"
LATENCY = {"p50": "#3d8bd4", "p95": "#8d6fd1", "p99": "#cf8a1d"}


def draw(picture: Mapping[str, Any]) -> str:
    """Draw a picture's values (`MonitorPicture.to_dict`) as SVG.

    Every text of the data is escaped.
    """
    parts: list[str] = []
    top = _header(parts, picture)
    half = (WIDTH - 2 * MARGIN - GAP) / 2
    _traffic(parts, picture, MARGIN, top, half)
    _latency(parts, picture, MARGIN + half + GAP, top, half)
    top += 150
    top = _features(parts, picture["features"], top)
    if picture["prediction"] or picture["quality"]:
        _prediction(parts, picture["prediction"], MARGIN, top, half)
        tall = _quality(parts, picture["quality"], MARGIN + half + GAP, top, half)
        top += max(140, tall)
    for alert in picture["alerts"][:6]:
        colour = BAD if alert["severity"] == "critical" else WARN
        parts.append(f'<circle cx="{MARGIN + 4}" cy="{top}" r="4" fill="{colour}"/>')
        parts.append(_text(MARGIN + 16, top + 4, _clip(alert["title"], 130)))
        top += 20
    height = top + MARGIN
    name = html.escape(_plain(f"monitor of {picture['endpoint']}: {picture['state']}"), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{name}" '
        f'font-family="system-ui,-apple-system,Segoe UI,sans-serif" font-size="12">'
        f"{''.join(parts)}</svg>"
    )


def column(one: Mapping[str, Any]) -> str:
    """Draw one column of a picture beside its training data, as SVG that stands alone."""
    parts: list[str] = []
    wide, tall = 440.0, 120.0
    _distribution(parts, one, 4, 16, wide - 8, tall)
    name = html.escape(_plain(one["name"]), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {tall + 48:.0f}" '
        f'width="{wide:.0f}" height="{tall + 48:.0f}" role="img" aria-label="{name}" '
        f'font-family="system-ui,-apple-system,Segoe UI,sans-serif" font-size="12">'
        f"{''.join(parts)}</svg>"
    )


def _header(parts: list[str], picture: Mapping[str, Any]) -> float:
    colour = {"live": GOOD, "idle": QUIET, "down": BAD}[picture["state"]]
    parts.append(f'<circle cx="{MARGIN + 5}" cy="22" r="5" fill="{colour}"/>')
    title = _clip(picture["endpoint"], 50)
    parts.append(_text(MARGIN + 18, 28, title, size=18, weight=600))
    state = picture["state"] + (f": {picture['reason']}" if picture["reason"] else "")
    parts.append(_text(WIDTH - MARGIN, 20, _clip(state, 70), anchor="end", colour=colour))
    span = f"{_clock(picture['since'])} to {_clock(picture['until'])}"
    parts.append(_text(WIDTH - MARGIN, 38, span, anchor="end", colour=QUIET))
    arms = [
        f"{arm['variant']} {arm['model']}/{arm['version']} {arm['percent']:g} %"
        for arm in picture["variants"]
    ]
    parts.append(_text(MARGIN + 18, 46, _clip(" · ".join(arms), 90), colour=QUIET))
    figures = picture["efficiency"]
    rate = figures["error_rate"]
    spent = figures["latency_ms"]
    facts = [
        ("requests", cards.text(figures["requests"])),
        ("predictions", cards.text(figures["rows"])),
        ("errors", "–" if rate is None else f"{rate:.2%}"),
        *((f"{name} ms", _short(spent[name])) for name in ("p50", "p95", "p99")),
    ]
    step = (WIDTH - 2 * MARGIN) / len(facts)
    for place, (name, value) in enumerate(facts):
        parts.append(_text(MARGIN + place * step, 84, value, size=20, weight=600))
        parts.append(_text(MARGIN + place * step, 100, name, colour=QUIET))
    return 124


def _traffic(parts: list[str], picture: Mapping[str, Any], x: float, y: float, wide: float) -> None:
    series = picture["series"]
    parts.append(_text(x, y, "requests", weight=600))
    parts.append(_text(x + 68, y, "errors", colour=BAD))
    most = max(series["requests"], default=0)
    parts.append(_text(x + wide, y, f"most {cards.text(most)}", anchor="end", colour=QUIET))
    tall, floor = 90.0, y + 106
    _floor(parts, x, floor, wide, series["t"])
    step = wide / max(1, len(series["t"]))
    for place, (total, errors) in enumerate(zip(series["requests"], series["errors"], strict=True)):
        width = min(24.0, max(0.6, step - min(1.0, step * 0.2)))
        left = x + (place + 0.5) * step - width / 2
        for value, colour in ((total, CURRENT), (errors, BAD)):
            if value:
                parts.append(_bar(left, floor, width, tall * value / most, colour))


def _latency(parts: list[str], picture: Mapping[str, Any], x: float, y: float, wide: float) -> None:
    series = picture["series"]
    parts.append(_text(x, y, "latency, ms", weight=600))
    tall, floor = 90.0, y + 106
    most = max((v for name in LATENCY for v in series[name] if v is not None), default=0.0)
    parts.append(_text(x + wide, y, f"most {_short(most or None)}", anchor="end", colour=QUIET))
    _floor(parts, x, floor, wide, series["t"])
    step = wide / max(1, len(series["t"]))
    for place, (name, colour) in enumerate(LATENCY.items()):
        parts.append(_text(x + 84 + 34 * place, y, name, colour=colour))
        pieces: list[list[str]] = [[]]
        for at, value in enumerate(series[name]):
            if value is None:  # unknown is a gap, not a zero
                pieces.append([])
            else:
                level = floor - tall * value / most
                pieces[-1].append(f"{x + (at + 0.5) * step:.1f},{level:.1f}")
        for piece in filter(None, pieces):
            points = " ".join(piece)
            if len(piece) == 1:
                left, level = piece[0].split(",")
                parts.append(f'<circle cx="{left}" cy="{level}" r="2" fill="{colour}"/>')
            else:
                parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{colour}" '
                    f'stroke-width="1.6" stroke-linejoin="round"/>'
                )


def _features(parts: list[str], features: Sequence[Mapping[str, Any]], top: float) -> float:
    shown = features[:6]
    if not shown:
        return top
    parts.append(_text(MARGIN, top, "most different from training", weight=600))
    _legend(parts, MARGIN + 206, top)
    wide = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
    for place, one in enumerate(shown):
        left = MARGIN + (place % 3) * (wide + GAP)
        _distribution(parts, one, left, top + 24 + (place // 3) * 112, wide, 70)
    return top + 24 + math.ceil(len(shown) / 3) * 112 + 8


def _prediction(
    parts: list[str], one: Mapping[str, Any] | None, x: float, y: float, wide: float
) -> None:
    if one is not None:
        _distribution(parts, one, x, y, wide, 84)


def _distribution(
    parts: list[str], one: Mapping[str, Any], x: float, y: float, wide: float, tall: float
) -> None:
    drifted = one["drifted"]
    colour = WARN if drifted else INK
    parts.append(_text(x, y, _clip(one["name"], 26), weight=600))
    psi = "PSI unknown" if one["psi"] is None else f"PSI {one['psi']:.2f}"
    verdict = {True: "drifted, ", False: "", None: "no verdict, "}[drifted]
    parts.append(_text(x + wide, y, verdict + psi, anchor="end", colour=colour))
    floor = y + 10 + tall
    _floor(parts, x, floor, wide, [])
    histogram = one["histogram"]
    if not histogram or not histogram["reference"]:
        return
    before, after = histogram["reference"], histogram["current"]
    most = max([*before, *after]) or 1.0
    step = wide / len(before)
    half = step * 0.42
    for place, pair in enumerate(zip(before, after, strict=True)):
        for side, (value, paint) in enumerate(zip(pair, (REFERENCE, CURRENT), strict=True)):
            left = x + place * step + step * 0.08 + side * half
            parts.append(_bar(left, floor, half, tall * value / most, paint))
    first, last = _ends(histogram)
    parts.append(_text(x, floor + 13, _clip(first, 16), size=10, colour=QUIET))
    end = _text(x + wide, floor + 13, _clip(last, 16), size=10, colour=QUIET, anchor="end")
    parts.append(end)


def _ends(histogram: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to write below the first and the last bar."""
    if histogram["labels"]:
        return histogram["labels"][0], histogram["labels"][-1]
    edges = histogram["edges"]
    first = f"<{edges[1]:.4g}" if edges[0] is None else f"{edges[0]:.4g}"
    last = f"≥{edges[-2]:.4g}" if edges[-1] is None else f"{edges[-1]:.4g}"
    return first, last


def _quality(
    parts: list[str], quality: Mapping[str, Any] | None, x: float, y: float, wide: float
) -> float:
    """Draw each metric as value, interval and the mark of its value in testing."""
    if quality is None:
        parts.append(_text(x, y, "quality", weight=600))
        parts.append(_text(x, y + 22, "unknown: no labels for this time yet", colour=QUIET))
        return 40
    coverage = quality["coverage"]
    shown = quality["metrics"] or [one | {"reference": None} for one in _expected(quality)]
    share = "" if coverage is None else f" ({coverage:.1%})"
    title = "quality" if quality["metrics"] or not shown else "quality, estimated from scores"
    parts.append(_text(x, y, title, weight=600))
    parts.append(
        _text(x + wide, y, f"{quality['labels']:,} labels{share}", anchor="end", colour=QUIET)
    )
    left, room = x + 190, wide - 190
    for place, metric in enumerate(shown[:8]):
        line = y + 24 + place * 18
        parts.append(_text(x, line, metric["name"]))
        parts.append(_text(x + 180, line, _short(metric["value"]), anchor="end", weight=600))
        values = [metric[name] for name in ("value", "low", "high", "reference")]
        known = [value for value in values if value is not None]
        if not known or metric["value"] is None:
            continue
        low, high = min(*known, 0.0), max(*known, 1.0)
        scale = room / (high - low)

        def at(value: float, low: float = low, scale: float = scale) -> float:
            return left + (value - low) * scale

        parts.append(
            f'<line x1="{left:.1f}" x2="{left + room:.1f}" y1="{line - 4}" y2="{line - 4}" '
            f'stroke="{REFERENCE}" stroke-opacity=".35"/>'
        )
        if metric["low"] is not None and metric["high"] is not None:
            parts.append(
                f'<line x1="{at(metric["low"]):.1f}" x2="{at(metric["high"]):.1f}" '
                f'y1="{line - 4}" y2="{line - 4}" stroke="{CURRENT}" stroke-width="4" '
                f'stroke-opacity=".5" stroke-linecap="round"/>'
            )
        parts.append(
            f'<circle cx="{at(metric["value"]):.1f}" cy="{line - 4}" r="4" fill="{CURRENT}"/>'
        )
        if metric["reference"] is not None:
            mark = at(metric["reference"])
            parts.append(
                f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{line - 11}" y2="{line + 3}" '
                f'stroke="{INK}" stroke-width="2"/>'
            )
    return 40 + 18.0 * min(8, len(shown))


def _expected(quality: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what scores lead to expect; a picture of an older version has no estimate."""
    return list((quality.get("estimate") or {}).get("metrics") or [])


def _legend(parts: list[str], x: float, y: float) -> None:
    for left, colour, name in ((x, REFERENCE, "training"), (x + 74, CURRENT, "now")):
        parts.append(_bar(left, y + 1, 9, 9, colour))
        parts.append(_text(left + 14, y, name, colour=QUIET))


def _floor(parts: list[str], x: float, y: float, wide: float, times: Sequence[float]) -> None:
    parts.append(
        f'<line x1="{x:.1f}" x2="{x + wide:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="{REFERENCE}" stroke-opacity=".6"/>'
    )
    if len(times) > 1:
        parts.append(_text(x, y + 14, _clock(times[0]), size=10, colour=QUIET))
        last = _text(x + wide, y + 14, _clock(times[-1]), size=10, colour=QUIET, anchor="end")
        parts.append(last)


def _bar(x: float, floor: float, wide: float, tall: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
        f'fill="{colour}"/>'
    )


def _text(
    x: float,
    y: float,
    value: str,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}">{html.escape(_plain(value))}</text>'
    )


def _plain(value: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(
        sign
        for sign in str(value)
        if sign >= " " and not "\ud800" <= sign <= "\udfff" and sign not in "\ufffe\uffff"
    )


def _clip(value: str, room: int) -> str:
    return value if len(value) <= room else value[: room - 1] + "…"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _clock(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds))
