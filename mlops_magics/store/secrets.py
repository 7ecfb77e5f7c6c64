"""Secrets by reference: a parameter's value is ``secret:NAME``, the kernel gets what it stands for.

The reference is what is written: into notebooks, MLflow, the database. The value is looked up
where the code runs, in the environment, then in the system's keyring; every value that was looked
up is known to this process's :data:`redactor`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mlops_magics.errors import InvalidArgument, SecretNotFound
from mlops_magics.store.redaction import Redactor

__all__ = [
    "ENGINE",
    "MEDIA_TYPE",
    "PREFIX",
    "Secret",
    "look_up",
    "named",
    "redactor",
    "references",
    "secret",
]

ENGINE = "MLOPS_ENGINE"
"""Environment variable by which a kernel knows the process that executes its notebook."""

MEDIA_TYPE = "application/vnd.mlops.secret+json"
"""Of the message by which a kernel tells that process a secret; it is never written down."""

redactor = Redactor()
"""Knows the secrets that this process has looked up."""

PREFIX = "secret:"
"""With which a reference begins."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_SERVICE = "mlops"  # under which the keyring keeps them


class Secret(str):
    """A secret's value; shown, and pickled, as its name.

    It is the text itself wherever text is used: in an f-string, in a password's place.

    Attributes
    ----------
    name : str
    """

    name: str

    def __new__(cls, value: str, name: str) -> Secret:
        """Keep a value with its name."""
        self = super().__new__(cls, value)
        self.name = name
        return self

    def __repr__(self) -> str:
        return f"[secret:{self.name}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return secret, (self.name,)  # in another process it is looked up again


def secret(name: str) -> Secret:
    """Look up a secret by its name.

    In the cell of parameters: ``password: str = mlops.secret("DB_PASSWORD")``. A pipeline, or
    ``papermill --engine mlops``, gives another with ``password=secret:NAME``.

    Parameters
    ----------
    name : str
        An environment variable, or else an entry ``mlops`` of the system's keyring.

    Returns
    -------
    Secret
        The text. In the outputs of a notebook that runs in a pipeline it is replaced by its name.

    Raises
    ------
    SecretNotFound
        There is none of that name.

    Examples
    --------
    >>> import os
    >>> os.environ["DB_PASSWORD"] = "correct horse"
    >>> password = secret("DB_PASSWORD")
    >>> password
    [secret:DB_PASSWORD]
    >>> f"postgresql://ann:{password}@host"
    'postgresql://ann:correct horse@host'
    """
    value = look_up(name)
    _tell(name, value)
    return Secret(value, name)


def look_up(name: str) -> str:
    """Return a secret's value; from now on it is redacted.

    Raises
    ------
    InvalidArgument
        A name that cannot be one.
    SecretNotFound
        There is none of that name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name!r} cannot be a secret's name", hint="for example DB_PASSWORD, no blanks"
        )
    value = os.environ.get(name)
    if value is None:
        value = _from_keyring(name)
    redactor.add(name, value)
    return value


def named(value: Any) -> str | None:
    """Return the name in a reference; None for a value that is none.

    Raises
    ------
    InvalidArgument
        It begins like a reference, but no name follows.

    Examples
    --------
    >>> named("secret:DB_PASSWORD"), named("no secret")
    ('DB_PASSWORD', None)
    """
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    name = value[len(PREFIX) :]
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{value!r} is no reference to a secret", hint="write secret:NAME, such as secret:TOKEN"
        )
    return name


def references(value: Any) -> Iterator[str]:
    """Give the names of the secrets that a value refers to, however deep.

    Examples
    --------
    >>> list(references({"login": ["ann", "secret:DB_PASSWORD"]}))
    ['DB_PASSWORD']
    """
    if isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    else:
        name = named(value)
        if name is not None:
            yield name


def _from_keyring(name: str) -> str:
    missing = f"there is no secret {name!r}: the environment variable {name} is not set"
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as exc:
        raise SecretNotFound(
            missing,
            hint=f"set {name}; or keep it in the system's keyring: "
            'pip install "mlops-magics[keyring]"',
        ) from exc
    try:
        value = keyring.get_password(_SERVICE, name)
    except KeyringError as exc:
        raise SecretNotFound(
            f"{missing}, and the keyring cannot be read: {exc}", hint=f"set {name}"
        ) from exc
    if value is None:
        raise SecretNotFound(
            f"{missing}, nor has the keyring an entry",
            hint=f"set {name}, or: keyring set {_SERVICE} {name}",
        )
    return str(value)


def _tell(name: str, value: str) -> None:
    """Let the process that executes this kernel's notebook know what to redact.

    Only the process that has started this very kernel drops the message before it is written down.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or os.environ.get(ENGINE) != str(os.getppid()):
        return
    from IPython.display import display

    display({MEDIA_TYPE: {"name": name, "value": value}}, raw=True)
