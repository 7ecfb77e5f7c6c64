"""The database holds transactions, migrates itself and maps errors, on both dialects."""

import itertools
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
import mlops_magics.store.migrations.versions as versions
from mlops_magics.errors import DatabaseUnavailable, InvalidSetting
from mlops_magics.store import ledger, tables
from mlops_magics.store.database import HEAD, Database


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    yield database
    database.close()


def test_a_new_database_gets_every_table(database):
    with database.read() as connection:
        found = set(sa.inspect(connection).get_table_names())
    assert set(tables.metadata.tables) <= found


def test_migrations_give_exactly_the_tables_of_the_code(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "mlops_version"})
        assert compare_metadata(context, tables.metadata) == []


def test_head_is_the_newest_migration_file():
    files = sorted(Path(versions.__path__[0]).glob("m*.py"))
    assert files[-1].name.startswith(f"m{HEAD}_")


def test_an_error_rolls_the_transaction_back(database):
    def write_then_fail():
        with database.begin() as connection:
            ledger.append(connection, actor="a", action="deploy", subject="x")
            raise RuntimeError("kill")

    with pytest.raises(RuntimeError, match="kill"):
        write_then_fail()
    with database.read() as connection:
        assert connection.execute(sa.select(tables.ledger)).all() == []


def test_the_ledger_chains_and_numbers_without_gaps(database):
    with database.begin() as connection:
        numbers = [
            ledger.append(connection, actor="a", action="deploy", subject=str(i), details={"i": i})
            for i in range(3)
        ]
    assert numbers == [1, 2, 3]
    with database.read() as connection:
        rows = connection.execute(sa.select(tables.ledger).order_by(tables.ledger.c.seq)).all()
    assert [row.previous for row in rows] == [ledger.ROOT, rows[0].hash, rows[1].hash]
    assert all(ledger.entry_hash(row._mapping) == row.hash for row in rows)


def test_two_processes_append_to_the_ledger_without_a_fork(database, database_url):
    code = (
        "import sys\n"
        "from mlops_magics.store.database import Database\n"
        "from mlops_magics.store import ledger\n"
        "database = Database(sys.argv[1])\n"
        "for i in range(20):\n"
        "    with database.begin() as connection:\n"
        "        ledger.append(connection, actor='a', action='x', subject=str(i))\n"
    )
    # the schema is not there yet: both migrate at once as well
    children = [subprocess.Popen([sys.executable, "-c", code, database_url]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    with database.read() as connection:
        rows = connection.execute(sa.select(tables.ledger).order_by(tables.ledger.c.seq)).all()
    assert [row.seq for row in rows] == list(range(1, 41))
    assert all(a.hash == b.previous for a, b in itertools.pairwise(rows))


def test_insert_or_ignore_passes_over_a_known_key(database):
    row = {"file": "a", "offset": 1}
    for _ in range(2):
        with database.begin() as connection:
            connection.execute(database.insert_or_ignore(tables.spool).values(**row))
    with database.read() as connection:
        assert len(connection.execute(sa.select(tables.spool)).all()) == 1


def test_the_file_is_for_its_owner_only(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with database.read():
        pass
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600


def test_a_url_that_is_none_is_refused_with_an_example():
    with pytest.raises(InvalidSetting, match="no SQLAlchemy URL"):
        Database("no url at all")


def test_an_unreachable_server_is_named_without_its_password():
    database = Database("postgresql+psycopg://me:secret@127.0.0.1:1/x")
    with pytest.raises(DatabaseUnavailable) as caught, database.read():
        pass
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_damaged_file_is_named_and_does_not_show_a_traceback(workspace):
    workspace.database.close()
    for path in workspace.path.glob("mlops.db*"):
        path.unlink()
    (workspace.path / "mlops.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(DatabaseUnavailable, match="damaged: file is not a database"):
        mlops.datasets(workspace=workspace)
    assert not mlops.status(workspace=workspace).healthy
    assert not mlops.doctor(workspace=workspace).healthy
