"""An executed notebook as HTML that a report can hold: nothing in it runs, nothing is fetched.

Code is coloured by Pygments, Markdown read by markdown-it, and whatever is HTML, in outputs or in
Markdown, passes nh3 (Ammonia), which keeps a list of harmless tags and attributes.
"""

from __future__ import annotations

import base64
import binascii
import functools
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nh3
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from mlops_magics.cards import image

__all__ = ["Cell", "cells", "sanitized"]

_TEXT_LIMIT = 20_000  # characters of one output
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LIVELY = re.compile(r"<(script|input|button|canvas|iframe)\b", re.I)
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_ADDED = {"papermill-error-cell-tag"}
_TAGS = (nh3.ALLOWED_TAGS | {"svg", "rect", "progress"}) - {"map", "area"}
_ATTRIBUTES = {
    "*": {"class", "title", "style", "colspan", "rowspan", "scope", "open"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "progress": {"value", "max"},
    "svg": {"width", "height", "viewbox", "viewBox", "role", "aria-label"},
    "rect": {"x", "y", "width", "height"},
}
_STYLES = {"display", "font-weight", "height", "max-width", "text-align", "width"}


@dataclass(frozen=True)
class Cell:
    """A cell of an executed notebook.

    Attributes
    ----------
    kind : str
        ``code`` or ``markdown``.
    prompt : str
        Number of its execution; empty when it was not executed.
    source : str
        HTML.
    outputs : tuple of str
        HTML.
    tag : str
        ``parameters``, ``injected`` or empty.
    failed : bool
        It raised.
    """

    kind: str
    prompt: str
    source: str
    outputs: tuple[str, ...] = ()
    tag: str = ""
    failed: bool = False


def cells(notebook: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a notebook, ready to be put into a page.

    Examples
    --------
    >>> stream = {"output_type": "stream", "name": "stdout"}
    >>> shown = [{**stream, "text": "1 <"}, {**stream, "text": " 2"}]
    >>> cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": shown}
    >>> cells({"cells": [cell], "metadata": {}})[0].outputs
    ('<pre class="stdout">1 &lt; 2</pre>',)
    """
    metadata = notebook.get("metadata", {})
    language = metadata.get("language_info", {}).get("pygments_lexer") or "python"
    found = []
    for cell in notebook["cells"]:
        tags = set(cell["metadata"].get("tags", ()))
        if tags & _ADDED:
            continue  # papermill's own notice: the report has one of its own
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            found.append(Cell("markdown", "", sanitized(_markdown().render(source))))
            continue
        outputs = _joined(cell.get("outputs", ()))
        found.append(
            Cell(
                "code",
                str(cell.get("execution_count") or ""),
                _coloured(source, str(language)),
                tuple(part for item in outputs for part in _output(item)),
                "injected"
                if "injected-parameters" in tags
                else "parameters"
                if "parameters" in tags
                else "",
                any(item["output_type"] == "error" for item in outputs),
            )
        )
    return found


def sanitized(markup: str) -> str:
    """Return HTML without anything that runs, is fetched, or leaves its place.

    Examples
    --------
    >>> sanitized('<b onclick="x()">a</b><script>b</script><img src="https://x.org/c.png">')
    '<b>a</b><img>'
    """
    return nh3.clean(
        markup,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_kept,
        url_schemes={"http", "https", "mailto", "data"},
        filter_style_properties=_STYLES,
        link_rel="noopener noreferrer",
    )


def _kept(tag: str, name: str, value: str) -> str | None:
    """Keep pictures that the page itself holds, and links that lead elsewhere by a click."""
    picture = re.match(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,", value)
    if name == "src":
        return value if picture else None
    if name == "href":
        return value if re.match(r"(https?://|mailto:)", value, re.I) else None
    return value


@functools.cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable("table")


def _coloured(source: str, language: str) -> str:
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True)))


def _joined(outputs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Join what a cell printed in pieces: the kernel sends it as it comes."""
    found: list[Mapping[str, Any]] = []
    for item in outputs:
        former = found[-1] if found else {}
        if item["output_type"] == "stream" and former.get("name") == item["name"]:
            found[-1] = {**former, "text": _text(former["text"]) + _text(item["text"])}
        else:
            found.append(item)
    return found


def _output(item: Mapping[str, Any]) -> Iterator[str]:
    if item["output_type"] == "stream":
        yield _pre(item["text"], "stderr" if item.get("name") == "stderr" else "stdout")
    elif item["output_type"] == "error":
        lines = item.get("traceback") or [f"{item['ename']}: {item['evalue']}"]
        yield _pre("\n".join(lines), "error")
    else:
        yield _shown(item.get("data", {}))


def _shown(data: Mapping[str, Any]) -> str:
    """Return the richest form that an output has of those that are harmless."""
    for kind in _PICTURES:
        if kind in data:
            return _picture(kind, _text(data[kind]))
    if "image/svg+xml" in data:
        return image(_text(data["image/svg+xml"]), "a drawing")
    markup = _text(data.get("text/html", ""))
    # what lives by its script or its controls says nothing without them; its text does
    if markup and not ("text/plain" in data and _LIVELY.search(markup)):
        return f'<div class="rich">{sanitized(markup)}</div>'
    if "text/markdown" in data:
        markup = _markdown().render(_text(data["text/markdown"]))
        return f'<div class="rich">{sanitized(markup)}</div>'
    return _pre(data.get("text/plain", ""), "result")


def _picture(kind: str, data: str) -> str:
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return _pre("a picture that cannot be read", "result")
    return f'<img alt="a picture" src="data:{kind};base64,{base64.b64encode(content).decode()}">'


def _pre(value: Any, kind: str) -> str:
    text = _ANSI.sub("", _text(value)).rstrip("\n")
    # of a progress bar, what it was at the end
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    if len(text) > _TEXT_LIMIT:
        left = len(text) - _TEXT_LIMIT
        text = f"{text[:_TEXT_LIMIT]}\n… {left:,} more characters are in the notebook"
    return f'<pre class="{kind}">{html.escape(text)}</pre>'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(value)
