"""Pages: what a person sees of the server in a browser, three small files of the package."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["HEADERS", "page"]

# nothing from elsewhere, no script or style in the page itself, in no other page's frame
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_TYPES = {"html": b"text/html", "js": b"text/javascript", "css": b"text/css"}


def page(name: str) -> tuple[bytes, bytes]:
    """Return a file's content and media type.

    Examples
    --------
    >>> page("page.html")[1]
    b'text/html; charset=utf-8'
    """
    content = (files("mlops_magics.serving") / "docs" / name).read_bytes()
    return content, _TYPES[name.rpartition(".")[2]] + b"; charset=utf-8"
