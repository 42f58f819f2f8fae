"""The history file: who may read it, who may open it, and what an older program says to a newer file."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sinks.database import Database, migrations
from sinks.errors import (
    HistoryLockedError,
    HistoryMissingError,
    HistoryNewerError,
    HistoryUnreadableError,
)

HOLD = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history" / "history.duckdb"


def test_only_the_owner_may_read_the_file(file: Path) -> None:
    mask = os.umask(0)
    try:
        Database.open(file).close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_migrations_are_recorded_once_and_in_order(file: Path) -> None:
    Database.open(file).close()
    database = Database.open(file)
    applied = database.cursor().execute("SELECT name FROM schema_migrations ORDER BY applied_ms, name").fetchall()
    assert applied == [(migration.name,) for migration in migrations()]
    database.close()


def test_sql_cannot_reach_outside_the_file(file: Path) -> None:
    database = Database.open(file)
    cursor = database.cursor()
    with pytest.raises(duckdb.PermissionException):
        cursor.execute("SELECT * FROM read_text('/etc/hostname')")
    with pytest.raises(duckdb.Error, match="locked"):
        cursor.execute("SET enable_external_access = true")
    database.close()


def test_a_file_of_a_newer_version_is_refused_by_name(file: Path) -> None:
    database = Database.open(file)
    database.cursor().execute("INSERT INTO schema_migrations VALUES ('0099_later', 0)")
    database.close()
    for read_only in (False, True):
        with pytest.raises(HistoryNewerError, match="0099_later"):
            Database.open(file, read_only=read_only)


def test_a_file_that_another_process_holds_is_named_with_the_process(file: Path) -> None:
    Database.open(file).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        for read_only in (False, True):
            with pytest.raises(HistoryLockedError, match=f"process {holder.pid}"):
                Database.open(file, read_only=read_only, patience=0.1)
        holder.stdin.close()


def test_a_holder_that_lets_go_in_time_is_waited_for(file: Path) -> None:
    Database.open(file).close()
    script = HOLD.replace("sys.stdin.read()", "import time; time.sleep(0.5)")
    with subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        Database.open(file).close()


def test_something_else_than_a_history_is_not_touched(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"somebody's letters" * 100)
    with pytest.raises(HistoryUnreadableError, match="cannot be opened"):
        Database.open(file)
    assert file.read_bytes().startswith(b"somebody's letters")


def test_a_duckdb_file_without_history_is_said_to_hold_none(file: Path) -> None:
    file.parent.mkdir()
    duckdb.connect(str(file)).close()
    with pytest.raises(HistoryUnreadableError, match="holds no history"):
        Database.open(file, read_only=True)


def test_a_missing_history_is_said_to_be_missing(file: Path) -> None:
    with pytest.raises(HistoryMissingError, match="parityflow up"):
        Database.open(file, read_only=True)


@pytest.mark.parametrize(
    "select",
    [
        "SELECT o, sum(s) AS people FROM t WHERE e = (SELECT max(e) FROM epoch) GROUP BY o ORDER BY people",
        "SELECT o, CAST(sum(s) AS BIGINT) AS n FROM t WHERE e = (SELECT max(e) FROM epoch) GROUP BY o ORDER BY n",
        "SELECT o, sum(s) FROM t WHERE e = (SELECT max(e) FROM epoch) GROUP BY o HAVING sum(s) > 300",
    ],
)
def test_sums_survive_a_join_with_a_scalar_subquery(file: Path, select: str) -> None:
    database = Database.open(file)
    cursor = database.cursor()
    cursor.execute("CREATE TABLE t AS SELECT 1::INTEGER AS e, 1::TINYINT AS s, 'RX1' AS o FROM range(600)")
    cursor.execute("CREATE TABLE epoch AS SELECT 1::INTEGER AS e")
    assert cursor.execute(select).fetchall() == [("RX1", 600)]
    database.close()


def test_row_by_row_inserts_are_nowhere_used() -> None:
    sources = (Path(__file__).parents[3] / "sinks").glob("*.py")
    assert not [source.name for source in sources if ".executemany(" in source.read_text("utf-8")]
