"""Redaction: values of secrets are replaced by their names before anything is written down."""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["SHORTEST", "Redactor"]

SHORTEST = 4
"""Characters that a value must have: a shorter one stands in too much that is no secret."""

_SHORTEST_ENCODED = 6  # characters of Base64, which may meet by chance in a picture
_SHORTEST_LINE = 8  # characters of one line of a secret that has several


class Redactor:
    """Knows some secrets, and replaces their values in whatever it is given.

    A value is found as it is and as JSON, ``repr``, HTML, URLs, hexadecimal and Base64 write it,
    the last also inside a longer text that was encoded. Of a secret with several lines each line
    is looked for too.

    Examples
    --------
    >>> redactor = Redactor()
    >>> redactor.add("DB_PASSWORD", "correct horse")
    >>> redactor.text("login with correct%20horse failed")
    'login with [secret:DB_PASSWORD] failed'
    >>> redactor.value({"header": ["Basic " + base64.b64encode(b"ann:correct horse").decode()]})
    {'header': ['Basic YW5uOm[secret:DB_PASSWORD]U=']}
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # by form, the longest first
        self._begins: frozenset[str] = frozenset()
        self._longest = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Tell whether there is anything to look for."""
        return bool(self._names)

    def add(self, name: str, value: str) -> None:
        """Learn a secret's value; one that is too short is passed over."""
        if len(value) < SHORTEST:
            return
        with self._lock:
            names = dict.fromkeys(_forms(value), name) | self._names
            self._names = dict(sorted(names.items(), key=lambda item: -len(item[0])))
            self._begins = frozenset(form[0] for form in names)
            self._longest = max(map(len, names))

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for form, name in self._names.items():
            if form in text:
                text = text.replace(form, f"[secret:{name}]")
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value without the secrets, however deep they are."""
        if not self._names:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int) and not isinstance(value, bool):
            digits = str(value)
            return self.text(digits) if digits in self._names else value
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def split(self, text: str) -> tuple[str, str]:
        """Cut a stream's text where a secret may have begun whose rest is still to come.

        Returns
        -------
        tuple of str
            What can be shown now, without the secrets; and what must wait, as it is.

        Examples
        --------
        >>> redactor = Redactor()
        >>> redactor.add("TOKEN", "hunter22")
        >>> redactor.split("it is hunt")
        ('it is ', 'hunt')
        """
        whole = self.text(text)
        for cut in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[cut] not in self._begins:
                continue
            head, tail = text[:cut], text[cut:]
            if any(len(form) > len(tail) and form.startswith(tail) for form in self._names):
                head = self.text(head)
                # else a secret that is complete would be cut in two
                if head + self.text(tail) == whole:
                    return head, tail
        return whole, ""


def _forms(value: str) -> set[str]:
    """Return what a value looks like wherever it may be written."""
    forms = {value, *_written(value)}
    lines = value.splitlines()
    if len(lines) > 1:
        # the frame of a key, -----BEGIN …, is no secret
        for line in lines:
            if len(line) >= _SHORTEST_LINE and not line.startswith("---"):
                forms |= {line, *_written(line)}
    return forms


def _written(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogateescape")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield repr(raw)[2:-1]
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield quote(raw)
    yield quote(raw, safe="")
    yield quote_plus(raw)
    yield raw.hex()
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()
    # inside a longer text it begins at any of three places of a group of characters; those at its
    # ends depend on what is beside it
    for before, hidden in enumerate((0, 2, 3)):
        data = bytes(before) + raw
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            inner = encode(data).decode().rstrip("=")[hidden : -1 if len(data) % 3 else None]
            if len(inner) >= _SHORTEST_ENCODED:
                yield inner
