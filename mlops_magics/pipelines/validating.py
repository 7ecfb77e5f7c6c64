"""jsonschema, imported without what takes it seconds.

With Jupyter comes a package by which jsonschema checks internationalized addresses. It builds a
grammar when it is imported, which takes longer than all the rest of papermill, and nobody here
checks such addresses. So it is imported when somebody does.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

__all__ = ["jsonschema"]

_SLOW = "rfc3987_syntax"


def jsonschema() -> ModuleType:
    """Return jsonschema; it is the same as any other import of it, and there sooner.

    Examples
    --------
    >>> jsonschema().FormatChecker().conforms("https://example.org/straße", "iri")
    True
    """
    if "jsonschema" in sys.modules or _SLOW in sys.modules or not importlib.util.find_spec(_SLOW):
        return importlib.import_module("jsonschema")
    standing_in = ModuleType(_SLOW)

    def is_valid_syntax(rule: str, value: str) -> bool:
        found: bool = importlib.import_module(_SLOW).is_valid_syntax(rule, value)
        return found

    standing_in.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]  # a module's
    sys.modules[_SLOW] = standing_in
    try:
        return importlib.import_module("jsonschema")
    finally:
        del sys.modules[_SLOW]  # whoever else imports it gets it itself
