"""Whether a person sits before the notebook."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["headless"]


def headless(shell: Any) -> bool:
    """Tell whether nobody looks: papermill, nbconvert, nbval, CI, a pipe.

    Clients that cannot ask a person say so with each request (``allow_stdin``); a notebook that
    a person runs can.
    """
    if os.environ.get("CI"):
        return True
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return not sys.stderr.isatty()
    request = kernel.get_parent() or {}
    return not request.get("content", {}).get("allow_stdin", False)
