"""The workspace: the folder ``.mlops`` in which a project keeps its records."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import platform
import secrets
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_magics.errors import InvalidArgument, LockTimeout, WorkspaceNotFound
from mlops_magics.settings import Settings

if TYPE_CHECKING:
    from mlops_magics.store.database import Database
    from mlops_magics.store.tracking import Tracking

__all__ = ["Workspace", "resolve", "write_atomic"]

FOLDER = ".mlops"


class Workspace:
    """A project's records: MLflow, the database, files, the server's state.

    Attributes
    ----------
    root : Path
        The project's folder, absolute.
    path : Path
        The workspace folder itself, ``root/.mlops`` unless ``MLOPS_WORKSPACE`` names another.
    settings : Settings
        As merged when the workspace was opened.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> workspace = Workspace.create(root)
    >>> Workspace.find(root).path == workspace.path
    True
    """

    def __init__(
        self, root: Path, path: Path | None = None, settings: Settings | None = None
    ) -> None:
        self.root = root.resolve()
        self.path = (path or self.root / FOLDER).resolve()
        self.settings = settings or Settings.load(self.root)

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    @classmethod
    def find(cls, start: Path | str | None = None) -> Workspace:
        """Find the workspace upward from a folder, as git finds its own.

        Parameters
        ----------
        start : path, optional
            Default: ``MLOPS_WORKSPACE`` if set, else the working directory.

        Raises
        ------
        WorkspaceNotFound
            There is none; the hint says how to make one.
        """
        named = os.environ.get("MLOPS_WORKSPACE")
        if start is None and named:
            path = Path(named).expanduser()
            if not (path / "workspace").is_file():
                raise WorkspaceNotFound(
                    f"MLOPS_WORKSPACE names {named}, which is no workspace",
                    hint="make it one with: mlops init   (or unset MLOPS_WORKSPACE)",
                )
            return cls(path.parent, path)
        begin = Path(start or Path.cwd()).resolve()
        for folder in (begin, *begin.parents):
            if (folder / FOLDER / "workspace").is_file():
                return cls(folder)
        raise WorkspaceNotFound(
            f"no workspace in {begin} or above it",
            hint="make one with: mlops init",
        )

    @classmethod
    def create(cls, root: Path | str | None = None) -> Workspace:
        """Make a workspace in a project's folder; an existing one is opened.

        Raises
        ------
        InvalidArgument
            The folder does not exist or cannot be written.
        """
        named = os.environ.get("MLOPS_WORKSPACE") if root is None else None
        if named:
            path = Path(named).expanduser().resolve()
            base = path.parent
        else:
            base = Path(root or Path.cwd()).resolve()
            path = base / FOLDER
        if not base.is_dir():
            raise InvalidArgument(f"{base} is not a folder", hint="create it first")
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
            if not (path / "workspace").exists():
                write_atomic(path / ".gitignore", b"*\n")
                write_atomic(path / "workspace", b"1\n")
        except OSError as exc:
            raise InvalidArgument(f"{path} cannot be written: {exc.strerror}") from exc
        return cls(base, path)

    def directory(self, *names: str) -> Path:
        """Return a folder inside the workspace, made with mode 0700 if it is missing."""
        path = self.path
        for name in names:
            path = path / name
            if not path.is_dir():
                path.mkdir(mode=0o700, exist_ok=True)
                path.chmod(0o700)
        return path

    @cached_property
    def token(self) -> str:
        """The bearer token of this workspace's server, made on first use (mode 0600)."""
        path = self.path / "token"
        with self.lock("token"):
            if not path.is_file():
                write_atomic(path, secrets.token_urlsafe(32).encode() + b"\n")
            return path.read_text("ascii").strip()

    @cached_property
    def id(self) -> str:
        """What tells this workspace from others that share its database; made on first use."""
        path = self.path / "id"
        with self.lock("id"):
            if not path.is_file():
                write_atomic(path, secrets.token_hex(8).encode() + b"\n")
            return path.read_text("ascii").strip()

    @property
    def place(self) -> str:
        """Where this workspace is, for people: host and path."""
        return f"{platform.node()}:{self.path}"

    @cached_property
    def database(self) -> Database:
        """The database, at its newest schema."""
        from mlops_magics.store.database import Database

        if self.settings.database_url:
            return Database(self.settings.database_url)
        return Database(f"sqlite:///{self.path / 'mlops.db'}")

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow's tracking store and registry."""
        from mlops_magics.store.tracking import Tracking

        return Tracking(self)

    @property
    def actor(self) -> str:
        """Who acts: ``owner`` of the settings, else the operating system's user."""
        if self.settings.owner:
            return self.settings.owner
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            return str(os.getuid())

    @contextlib.contextmanager
    def lock(self, name: str, timeout: float = 10.0) -> Iterator[None]:
        """Hold an exclusive lock between processes.

        The kernel drops it when the holder dies, so no stale lock can remain.

        Parameters
        ----------
        name : str
            What is locked.
        timeout : float
            Seconds to wait.

        Raises
        ------
        LockTimeout
            Another process holds it for longer.
        """
        path = self._lock_file(name)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end:
                        raise LockTimeout(
                            f"the lock {name!r} is held by {self.holder(name)} "
                            f"for over {timeout:g} s",
                            hint="wait for it, or see what is wrong: mlops doctor",
                        ) from None
                    time.sleep(0.02)
            os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def holder(self, name: str) -> str:
        """Say who holds a lock, or held it last."""
        pid = self._lock_file(name).read_text("ascii").strip()
        return f"process {pid}" if pid else "another process"

    def _lock_file(self, name: str) -> Path:
        return self.directory("locks") / f"{name}.lock"


def resolve(workspace: Workspace | None) -> Workspace:
    """Return the workspace given, or the one found from the working directory."""
    return workspace if workspace is not None else Workspace.find()


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file's content so that a reader, or a crash, sees the old or the new.

    Written to a temporary name in the same folder, synced, renamed.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
