"""Orders: what shall be deployed where, and how; checked before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.deployment.checks import Progress
from mlops_magics.errors import InvalidArgument
from mlops_magics.serving.validation import Schema
from mlops_magics.store import packages

if TYPE_CHECKING:
    from mlops_magics.deployment.rules import Candidacy
    from mlops_magics.store.models import ModelRef

__all__ = ["RUNTIMES", "Order", "alias_of", "check_package", "reference", "runtime_of"]

RUNTIMES = ("native", "onnx")
"""What can compute a model: its own library, or ONNX Runtime where the package has proof."""


@dataclass(frozen=True)
class Order:
    """A deployment that was asked for.

    Attributes
    ----------
    ref : ModelRef
        The model.
    package : Path
        Its verified private copy.
    endpoint : str
        Where to.
    workers : int
        Processes.
    runtime : str
        ``native`` or ``onnx``.
    latency_budget : float or None
        Milliseconds.
    log : mapping
        What is to change of the endpoint's log policy.
    candidacy : Candidacy or None
        As what it starts beside the champion; None gives it all the traffic.
    follow : str or None
        The alias that the endpoint shall follow from now on.
    actor : str
        Who is entered in the ledger.
    why : mapping
        More for the ledger.
    report : callable
        Is told of the progress.
    env : str
        ``shared`` or ``own``: in which environment its workers run.
    """

    ref: ModelRef
    package: Path
    endpoint: str
    workers: int
    runtime: str
    latency_budget: float | None
    log: Mapping[str, Any]
    candidacy: Candidacy | None
    follow: str | None
    actor: str
    why: Mapping[str, Any]
    report: Progress
    env: str = "shared"

    def settings(self, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the endpoint's settings after the deployment, from those before.

        A champion brings settings of its own; a candidate leaves them as they are.
        """
        found = dict(before or {})
        if self.log:
            policy = found.get("log") or {}
            # of version 0.1 it is the mode alone
            found["log"] = {**({"mode": policy} if isinstance(policy, str) else policy), **self.log}
        if self.candidacy is None:
            found.setdefault("log", {"mode": "durable"})
            found.pop("follow", None)
            if self.follow is not None:
                found["follow"] = {
                    "model": self.ref.name,
                    "alias": self.follow,
                    "version": self.ref.version,
                    "latency_budget": self.latency_budget,
                    "env": self.env,
                    "problem": None,
                }
        return found


def reference(model: Any) -> str:
    """Return the text that names a model, from it or from a record.

    Raises
    ------
    InvalidArgument
        It is an object that was never registered.
    """
    uri = model if isinstance(model, str) else getattr(model, "uri", None)
    if not isinstance(uri, str):
        raise InvalidArgument(
            f"{type(model).__name__} is nothing that can be deployed",
            hint="register it first: mlops register MODEL --name NAME",
        )
    return uri


def alias_of(uri: str, ref: ModelRef) -> str:
    """Return the alias that a reference names, to be followed.

    Raises
    ------
    InvalidArgument
        It names a version, or a model that is not registered.
    """
    if ref.version and "@" in uri:
        return uri.rpartition("@")[2].strip()
    if ref.version and "champion" in ref.aliases and "/" not in uri.removeprefix("models:/"):
        return "champion"  # what a bare name means
    raise InvalidArgument(
        f"{uri!r} names no alias that could be followed",
        hint=f"such as: mlops deploy {ref.name}@champion --follow",
    )


def check_package(package: Path) -> None:
    """Refuse here what the server would have to refuse.

    Raises
    ------
    SignatureMissing
        It has no signature.
    """
    manifest = json.loads((package / "mlops" / "manifest.json").read_bytes())
    Schema.from_signature(manifest.get("signature"))


def runtime_of(package: Path, asked: str | None) -> str:
    """Return what shall compute a package's model; by default what its manifest says.

    Raises
    ------
    InvalidArgument
        It has no ONNX model that was proven to answer as the native one.
    """
    if asked not in (None, *RUNTIMES):
        raise InvalidArgument(f"runtime = {asked!r} is neither 'native' nor 'onnx'")
    manifest = packages.read_manifest(package)
    if asked == "onnx" and manifest.get("runtime") != "onnx":
        raise InvalidArgument(
            "this package has no ONNX model that was proven to answer as the native one",
            hint="package it with one: mlops package MODEL --data TRAIN --runtime onnx",
        )
    return asked or str(manifest.get("runtime", "native"))
