"""What a kernel says, without secrets: all of it passes here before it is shown or kept."""

from __future__ import annotations

import codecs
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlops_magics.store.redaction import Redactor
from mlops_magics.store.secrets import MEDIA_TYPE

__all__ = ["Screen", "screen_pipe", "screened"]

Message = dict[str, Any]


class Screen:
    """Redacts a kernel's messages, also what a cell prints in pieces.

    Parameters
    ----------
    redactor : Redactor
        Learns what the kernel tells that it has looked up.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._waiting: dict[str, tuple[str, Message]] = {}  # by stream

    def messages(self, message: Message) -> Iterator[Message]:
        """Give what is to be processed instead of a message: mostly one, none, or more.

        Parameters
        ----------
        message : dict
            Of the kernel's IOPub channel, in order.
        """
        content = message["content"]
        told = content.get("data")
        if isinstance(told, Mapping) and MEDIA_TYPE in told:
            self.redactor.add(str(told[MEDIA_TYPE]["name"]), str(told[MEDIA_TYPE]["value"]))
        elif not self.redactor:
            yield message
        elif message["msg_type"] == "stream":
            name = content["name"]
            yield from self._released(other_than=name)
            before, _ = self._waiting.pop(name, ("", message))
            text, rest = self.redactor.split(before + content["text"])
            if rest:
                self._waiting[name] = rest, message
            if text:
                yield {**message, "content": {**content, "text": text}}
        else:
            yield from self._released()
            yield {**message, "content": self.redactor.value(content)}

    def _released(self, other_than: str = "") -> Iterator[Message]:
        """Give what waited for a secret's rest that did not come."""
        for name in [name for name in self._waiting if name != other_than]:
            text, message = self._waiting.pop(name)
            content = {**message["content"], "text": self.redactor.text(text)}
            yield {**message, "content": content}


@contextmanager
def screened(redactor: Redactor) -> Iterator[None]:
    """Redact what this process and its children write to their standard output and error.

    All of it goes to standard error; events have standard output for themselves.
    """
    log = os.dup(2)
    with screen_pipe(redactor, log) as writer:
        for descriptor in (1, 2):
            os.dup2(writer, descriptor)
        try:
            yield
        finally:
            sys.stderr.flush()
            for descriptor in (1, 2):
                os.dup2(log, descriptor)


@contextmanager
def screen_pipe(redactor: Redactor, target: int) -> Iterator[int]:
    """Give a descriptor for a child to write to; without secrets it goes to another one."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=_copy, args=(reader, target, redactor), daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        os.close(writer)
        # a child that was left behind holds the pipe open; it is not waited for
        thread.join(1)


def _copy(reader: int, log: int, redactor: Redactor) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting = ""
    while True:
        data = os.read(reader, 65536)
        text = waiting + decoder.decode(data, final=not data)
        shown, waiting = redactor.split(text) if data else (redactor.text(text), "")
        _write(log, shown.encode())
        if not data:
            os.close(reader)
            return


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
