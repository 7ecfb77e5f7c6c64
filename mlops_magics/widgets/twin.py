"""The static twin of a widget: what a saved notebook, papermill, nbconvert and GitHub show."""

from __future__ import annotations

import html
from typing import Any, Protocol

__all__ = ["Picture", "twin"]


class Picture(Protocol):
    """What a widget needs of a record: its values, and itself at a moment as drawing and table."""

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON."""

    def _repr_html_(self) -> str: ...


def twin(picture: Picture, *, name: str = "static") -> dict[str, str]:
    """Return a picture's representations that need no kernel and no script.

    Parameters
    ----------
    picture : Picture
        A record such as the one that ``mlops_magics.monitor`` returns.
    name : str
        Marks the element, so that the live view can hide it.

    Returns
    -------
    dict
        A mime bundle: ``text/html`` and ``text/plain``.

    Examples
    --------
    >>> class Calm:
    ...     def to_dict(self): return {}
    ...     def _repr_html_(self): return "<p>calm</p>"
    ...     def __str__(self): return "calm"
    >>> twin(Calm(), name="a")
    {'text/html': '<div class="mlops-twin-a"><p>calm</p></div>', 'text/plain': 'calm'}
    """
    shown = f'<div class="mlops-twin-{html.escape(name)}">{picture._repr_html_()}</div>'
    return {"text/html": shown, "text/plain": str(picture)}
