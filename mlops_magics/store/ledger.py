"""The ledger: who did what, when, from where, with which evidence; append-only, hash-chained.

Each entry's hash covers its content and the hash before it (as in RFC 6962's and git's chains of
SHA-256), so that an edited or removed entry breaks every later one.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mlops_magics.store.tables import ledger

__all__ = ["append", "entry_hash"]

ROOT = "0" * 64


def append(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry inside the caller's transaction: the act and its record are one.

    Parameters
    ----------
    connection : Connection
        Of ``database.begin()``.
    actor : str
        Who; usually ``workspace.actor``.
    action : str
        What, a verb: ``register``, ``promote``, ``deploy``, ``rollback``.
    subject : str
        On what: ``flight-delay/3``, ``endpoint flight-delay``.
    details : mapping, optional
        JSON values: reason, evidence, before and after.

    Returns
    -------
    int
        The entry's sequence number, from 1 without gaps.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(706174)"))
    last = connection.execute(
        sa.select(ledger.c.seq, ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)
    ).first()
    entry = {
        "seq": (last.seq if last else 0) + 1,
        "time": time.time(),
        "actor": actor,
        "origin": platform.node(),
        "action": action,
        "subject": subject,
        "details": json.dumps(dict(details or {}), sort_keys=True, default=str),
        "previous": last.hash if last else ROOT,
    }
    connection.execute(sa.insert(ledger).values(**entry, hash=entry_hash(entry)))
    return int(entry["seq"])


def entry_hash(entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry's fields, in hexadecimal.

    Examples
    --------
    >>> len(entry_hash(dict.fromkeys(
    ...     ["seq", "time", "actor", "origin", "action", "subject", "details", "previous"])))
    64
    """
    fields = ("seq", "time", "actor", "origin", "action", "subject", "details", "previous")
    text = json.dumps([entry[name] for name in fields], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
