"""The workspace's database: SQLite in the workspace, or a team's PostgreSQL.

Schema changes are Alembic migrations in ``store/migrations``; a database is brought to the newest
one when it is first opened.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from mlops_magics.errors import DatabaseUnavailable, InvalidSetting, MissingExtra

__all__ = ["HEAD", "Database"]

HEAD = "0005"
"""The newest migration; a test holds it to the files in ``migrations/versions``."""


class Database:
    """A SQLAlchemy engine at the newest schema, opened on first use.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://user@host/name``.

    Examples
    --------
    >>> from mlops_magics.store import tables
    >>> database = Database("sqlite://")
    >>> with database.read() as connection:
    ...     connection.execute(sa.select(tables.endpoints)).all()
    []
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
        except SQLAlchemyError as exc:
            raise InvalidSetting(
                f"database_url = {url!r} is no SQLAlchemy URL",
                hint="for example postgresql+psycopg://user@host/name",
            ) from exc

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.url.get_backend_name()

    @cached_property
    def engine(self) -> Engine:
        """The engine; the schema is created or migrated when it is first asked for."""
        with self._mapped():
            if self.dialect == "sqlite":
                engine = self._sqlite()
            else:
                engine = sa.create_engine(self.url, pool_pre_ping=True, json_serializer=_json)
            self._migrate(engine)
        return engine

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction for writing; commits at the end, rolls back on an error."""
        engine = self.engine
        with self._mapped(), engine.begin() as connection:
            if self.dialect == "sqlite":
                # taken at once: upgrading a read lock later could fail with SQLITE_BUSY
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction for reading: one consistent picture."""
        engine = self.engine
        with self._mapped(), engine.connect() as connection:
            if self.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection

    def insert_or_ignore(self, table: sa.Table) -> Any:
        """Return an INSERT that passes over rows whose key exists already."""
        if self.dialect == "sqlite":
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table).on_conflict_do_nothing()
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.dispose()

    def _sqlite(self) -> Engine:
        in_memory = not self.url.database or self.url.database == ":memory:"
        options: dict[str, Any] = {"connect_args": {"timeout": 30, "check_same_thread": False}}
        options["json_serializer"] = _json
        if in_memory:
            options["poolclass"] = sa.StaticPool
        else:
            # made by us first: SQLite itself would leave it readable under a loose umask
            Path(str(self.url.database)).touch(mode=0o600, exist_ok=True)
        engine = sa.create_engine(self.url, **options)

        @sa.event.listens_for(engine, "connect")
        def connect(connection: sqlite3.Connection, _: object) -> None:
            connection.isolation_level = None  # transactions are begun by us, explicitly
            if not in_memory:
                connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")

        return engine

    def _migrate(self, engine: Engine) -> None:
        if self._version(engine) == HEAD:
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with engine.begin() as connection:
            # one process migrates, the others wait and find it done
            if self.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(706173)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @staticmethod
    def _version(engine: Engine) -> str | None:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("mlops_version"):
                return None
            found = connection.execute(sa.text("SELECT version_num FROM mlops_version")).scalar()
            return str(found) if found is not None else None

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Map SQLAlchemy's errors of connection and operation to ours; others pass as bugs."""
        try:
            yield
        except NoSuchModuleError as exc:
            raise InvalidSetting(f"no SQLAlchemy dialect for {self!r}") from exc
        except ModuleNotFoundError as exc:
            if (exc.name or "").startswith("psycopg"):
                raise MissingExtra("postgresql", "PostgreSQL databases") from exc
            raise
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as exc:
            raise DatabaseUnavailable(
                f"{self!r} cannot be used: {_reason(exc)}", hint="see what is wrong: mlops doctor"
            ) from exc
        except sa.exc.DatabaseError as exc:
            if type(exc) is not sa.exc.DatabaseError:
                raise
            # SQLite's word on a file that is damaged, or is none of its own
            raise DatabaseUnavailable(
                f"{self!r} is damaged: {_reason(exc)}", hint="bring back a copy of that file"
            ) from exc


def _json(value: Any) -> str:
    """Write a JSON column: five times as fast as json.dumps, and never NaN, which is no JSON."""
    return msgspec.json.encode(value).decode()


def _reason(exc: DBAPIError) -> str:
    return str(exc.orig or exc).strip().splitlines()[0]
