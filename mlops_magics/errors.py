"""The errors of mlops_magics.

::

    MlopsError
    ├── InvalidArgument            wrong usage; a shell's exit status 2
    │   ├── UnknownName            a verb, option, column, parameter that does not exist
    │   └── InvalidSetting         a configuration value that cannot be used
    ├── NotFound
    │   ├── WorkspaceNotFound
    │   ├── AlertNotFound
    │   ├── DatasetNotFound
    │   ├── RunNotFound
    │   ├── ModelNotFound
    │   ├── EndpointNotFound
    │   ├── PredictionNotFound
    │   ├── ReleaseNotFound
    │   ├── SecretNotFound
    │   └── TriggerNotFound
    ├── GateFailed                 a check that was asked for did not hold
    ├── DataError
    │   ├── SourceUnreadable
    │   └── SchemaMismatch
    ├── ModelError
    │   ├── UnsupportedModel
    │   ├── UntrustedTypes
    │   ├── SignatureMissing
    │   ├── EvidenceMissing        no test report, or one that did not pass
    │   └── PackageCorrupt
    ├── DeployError
    │   ├── DeployFailed
    │   └── DeployConflict
    ├── ServerError
    │   ├── ServerNotRunning
    │   ├── PortTaken
    │   └── PredictionRefused      the endpoint answered with an error
    ├── PipelineError
    │   ├── SpecInvalid
    │   ├── ParameterInvalid
    │   ├── NothingToResume
    │   ├── ReleaseCorrupt         a release's files are not as they were tested
    │   ├── ReleaseFailed          its smoke run did not finish
    │   └── StepFailed             a step's notebook raised
    │       ├── CellTimeout
    │       ├── DiskFull
    │       ├── KernelDied
    │       ├── KernelNotStarted
    │       ├── NotebookExited     sys.exit in a cell
    │       ├── StepDied
    │       └── StepTimeout
    ├── StoreError
    │   ├── DatabaseUnavailable
    │   ├── TrackingUnavailable
    │   └── LockTimeout
    ├── FrontEndMissing            the widgets' JavaScript has not been built
    └── MissingExtra               an optional dependency is absent; names the pip line

They are ordinary exceptions, so that papermill, nbval and a shell see a failure with its
name. In a notebook they show a few lines instead of a traceback: what happened, with the value
at fault, and the next command to run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

__all__ = [
    "AlertNotFound",
    "CellTimeout",
    "DataError",
    "DatabaseUnavailable",
    "DatasetNotFound",
    "DeployConflict",
    "DeployError",
    "DeployFailed",
    "DiskFull",
    "EndpointNotFound",
    "EvidenceMissing",
    "FrontEndMissing",
    "GateFailed",
    "InvalidArgument",
    "InvalidSetting",
    "KernelDied",
    "KernelNotStarted",
    "LockTimeout",
    "MissingExtra",
    "MlopsError",
    "ModelError",
    "ModelNotFound",
    "NotFound",
    "NotebookExited",
    "NothingToResume",
    "PackageCorrupt",
    "ParameterInvalid",
    "PipelineError",
    "PortTaken",
    "PredictionNotFound",
    "PredictionRefused",
    "ReleaseCorrupt",
    "ReleaseFailed",
    "ReleaseNotFound",
    "RunNotFound",
    "SchemaMismatch",
    "SecretNotFound",
    "ServerError",
    "ServerNotRunning",
    "SignatureMissing",
    "SourceUnreadable",
    "SpecInvalid",
    "StepDied",
    "StepFailed",
    "StepTimeout",
    "StoreError",
    "TrackingUnavailable",
    "TriggerNotFound",
    "UnknownName",
    "UnsupportedModel",
    "UntrustedTypes",
    "WorkspaceNotFound",
]


_COMMAND = re.compile(r"(?:^|(?<=: )|(?<=→ )|(?<=\())mlops (?=[a-z])", re.M)


def magic_form(text: str) -> str:
    """Write the commands of a text as a notebook takes them.

    Examples
    --------
    >>> magic_form("see them: mlops runs")
    'see them: %mlops_runs'
    """
    return _COMMAND.sub("%mlops_", text)


def printable(text: str) -> str:
    r"""Show control characters instead of sending them: a name from data must not steer a terminal.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a␛[2Jb'
    """
    return "".join(
        chr(0x2400 + ord(sign))
        if ord(sign) < 32 and sign not in "\n\t"
        else "␡"
        if "\x7f" <= sign <= "\x9f"
        else sign
        for sign in text
    )


class MlopsError(Exception):
    """Base of every error of this package.

    Parameters
    ----------
    message : str
        What happened, with the value at fault.
    hint : str, optional
        The way out: the next command to run, or what to change.

    Examples
    --------
    >>> print(MlopsError("port 80 is taken", hint="choose another with --port"))
    port 80 is taken
      → choose another with --port
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = printable(message)
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is None else printable(hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  → {self.hint}"

    def _render_traceback_(self) -> list[str]:
        """Lines that IPython shows in place of a traceback."""
        bold, dim, red, reset = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"
        first, *rest = magic_form(str(self)).splitlines() or [""]
        lines = [f"{red}{bold}{type(self).__name__}{reset}: {first}"]
        lines += [f"{dim}{line}{reset}" for line in rest]
        return lines


class InvalidArgument(MlopsError, ValueError):
    """An argument has a value that cannot be used."""

    exit_status = 2


class UnknownName(InvalidArgument):
    """A name that does not exist; the message offers the nearest one.

    Examples
    --------
    >>> print(UnknownName("option", "--alais", ["--alias", "--name"]))
    no option '--alais'
      → did you mean '--alias'?
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None
    ) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.6)
        if near:
            hint = f"did you mean {near[0]!r}?"
        elif hint is None:
            shown = ", ".join(self.known[:12]) + (", …" if len(self.known) > 12 else "")
            hint = f"known: {shown}" if self.known else f"there is no {kind} yet"
        super().__init__(f"no {kind} {name!r}", hint=hint)


class InvalidSetting(InvalidArgument):
    """A setting from a file, the environment or ``%config`` cannot be used."""


class NotFound(MlopsError, LookupError):
    """A thing that was asked for by name does not exist."""


class WorkspaceNotFound(NotFound):
    """No ``.mlops`` folder here or above."""


class AlertNotFound(NotFound):
    """There is no alert of that number."""


class DatasetNotFound(NotFound):
    """No dataset of that name, version or digest."""


class RunNotFound(NotFound):
    """No run of that id or name."""


class ModelNotFound(NotFound):
    """No registered model, version, alias or logged model of that name."""


class EndpointNotFound(NotFound):
    """No endpoint of that name."""


class PredictionNotFound(NotFound):
    """No prediction with that id in the inference table."""


class ReleaseNotFound(NotFound):
    """No release of a pipeline of that name or id."""


class SecretNotFound(NotFound):
    """No secret of that name, neither in the environment nor in the keyring."""


class TriggerNotFound(NotFound):
    """No trigger of that name."""


class GateFailed(MlopsError):
    """A gate did not hold.

    Attributes
    ----------
    report : object or None
        The stored report of all checks, those that passed too.
    """

    def __init__(self, message: str, *, hint: str | None = None, report: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.report = report


class DataError(MlopsError):
    """Data cannot be used as they are."""


class SourceUnreadable(DataError):
    """A data source cannot be read."""


class SchemaMismatch(DataError):
    """Columns or types differ from what is expected."""


class ModelError(MlopsError):
    """A model cannot be used as it is."""


class UnsupportedModel(ModelError, TypeError):
    """An object that no flavour can package."""


class UntrustedTypes(ModelError):
    """A model file names types that nobody has trusted yet."""


class SignatureMissing(ModelError):
    """A model without a signature can be neither registered nor served."""


class EvidenceMissing(ModelError):
    """There is no test report, or it did not pass."""


class PackageCorrupt(ModelError):
    """A package's files do not match their digests, or leave its folder."""


class DeployError(MlopsError):
    """A deployment did not happen."""


class DeployFailed(DeployError):
    """A new revision did not pass its pre-checks; the previous one serves on."""


class DeployConflict(DeployError):
    """Another deployment to the same endpoint is under way."""


class ServerError(MlopsError):
    """The model server is the matter."""


class ServerNotRunning(ServerError):
    """The workspace's server is not running, or does not answer."""


class PortTaken(ServerError):
    """Another process listens on the port."""


class PredictionRefused(ServerError):
    """An endpoint answered with an error.

    Attributes
    ----------
    status : int
        The HTTP status.
    """

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class PipelineError(MlopsError):
    """A pipeline cannot run, or did not finish."""


class SpecInvalid(PipelineError):
    """A ``pipeline.yaml`` that cannot be understood."""

    exit_status = 2


class ParameterInvalid(PipelineError, ValueError):
    """A parameter that no notebook declares, or of the wrong type."""

    exit_status = 2


class StepFailed(PipelineError):
    """A step's notebook raised; names step, cell and error.

    Attributes
    ----------
    step : str
        The step.
    cell : int or None
        Number of the cell in the input notebook, from 1; None when no cell had begun.
    run : PipelineRun or None
        The record of the whole run.
    """

    def __init__(
        self, message: str, *, step: str = "", cell: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.step, self.cell = step, cell
        self.run: Any = None

    def _render_traceback_(self) -> list[str]:
        """Show the failure whole: cell, source, parameters, memory, environment."""
        first, *rest = super()._render_traceback_()
        card = self.run.failure() if self.run is not None else None
        # the card has the source, so that of the message is left out
        return [first, *rest] if card is None else [first, *magic_form(card.text()).splitlines()]


class CellTimeout(StepFailed):
    """A cell took longer than its step's ``cell_timeout``."""


class DiskFull(StepFailed):
    """The executed notebook could not be written; the file is as it was before."""


class KernelDied(StepFailed):
    """The kernel's process ended while a cell ran, most often for want of memory."""


class KernelNotStarted(StepFailed):
    """The notebook's kernel is not known, or ended before it could execute anything."""


class NotebookExited(StepFailed):
    """A cell called ``sys.exit``, ``exit`` or ``quit``: the cells after it did not run."""


class StepDied(StepFailed):
    """The process that executes the step's notebook ended without a word."""


class StepTimeout(StepFailed):
    """A step took longer than its ``timeout``."""


class NothingToResume(PipelineError):
    """A pipeline's run cannot go on: it goes on already, has finished, or its files changed."""


class ReleaseCorrupt(PipelineError):
    """A release's files do not match their digests; it is not run."""


class ReleaseFailed(PipelineError):
    """A release's smoke run did not finish; the release before it stays current."""


class StoreError(MlopsError):
    """The workspace's records cannot be reached."""


class DatabaseUnavailable(StoreError):
    """The database cannot be reached or used."""


class TrackingUnavailable(StoreError):
    """MLflow's tracking server or registry cannot be reached or refused."""


class LockTimeout(StoreError):
    """Another process holds a lock for too long."""


class FrontEndMissing(MlopsError):
    """The widgets' JavaScript is built when the package is; here it was not.

    Examples
    --------
    >>> print(FrontEndMissing("monitor.js"))
    the widgets' front end is not built: no monitor.js
      → in the source folder: npm --prefix extension ci && npm --prefix extension run build
    """

    def __init__(self, path: object) -> None:
        super().__init__(
            f"the widgets' front end is not built: no {path}",
            hint="in the source folder: "
            "npm --prefix extension ci && npm --prefix extension run build",
        )


class MissingExtra(MlopsError, ImportError):
    """An optional dependency is not installed.

    Examples
    --------
    >>> print(MissingExtra("xgboost", "XGBoost models"))
    XGBoost models need a package that is not installed
      → pip install "mlops-magics[xgboost]"
    """

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(
            f"{purpose} need a package that is not installed",
            hint=f'pip install "mlops-magics[{extra}]"',
        )
