"""The static twin of a widget: what a saved notebook, papermill, nbconvert and GitHub show."""

from __future__ import annotations

import base64
import html
from typing import Any, Protocol

__all__ = ["Picture", "twin"]


class Picture(Protocol):
    """What a widget needs of a record: its values, and itself at a moment as picture and card."""

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON."""

    def svg(self) -> str:
        """Return a drawing; it stands alone, without scripts or references."""

    def _repr_html_(self) -> str: ...


def twin(picture: Picture, *, name: str = "static") -> dict[str, str]:
    """Return a picture's representations that need no kernel and no script.

    The drawing goes into an ``<img>``: a browser runs nothing that might be inside, and the
    sanitisers of JupyterLab and GitHub let it through.

    Parameters
    ----------
    picture : Picture
        A record with a drawing, such as the one that ``mlops_magics.monitor`` returns.
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
    ...     def svg(self): return '<svg xmlns="http://www.w3.org/2000/svg"/>'
    ...     def _repr_html_(self): return "<p>calm</p>"
    ...     def __str__(self): return "calm"
    >>> bundle = twin(Calm(), name="a")
    >>> bundle["text/plain"]
    'calm'
    >>> bundle["text/html"][:30]
    '<div class="mlops-twin-a"><img'
    """
    drawing = base64.b64encode(picture.svg().encode()).decode()
    style = "display:block;max-width:100%;height:auto"
    return {
        "text/html": (
            f'<div class="mlops-twin-{html.escape(name)}">'
            f'<img alt="the picture of that moment; its values are in the table" style="{style}" '
            f'src="data:image/svg+xml;base64,{drawing}">{picture._repr_html_()}</div>'
        ),
        "text/plain": str(picture),
    }
