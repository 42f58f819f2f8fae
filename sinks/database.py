"""The DuckDB file: opened once, by one process, brought to the newest schema, and closed to SQL that reaches outside.

Migrations are ``.sql`` files, applied in the order of their names and recorded in ``schema_migrations``; the file is
checkpointed after them, so that no later crash has to replay a change of schema.
"""

import os
import time
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import duckdb

from pipeline.settings import Settings
from sinks.errors import (
    HistoryLockedError,
    HistoryMissingError,
    HistoryNewerError,
    HistoryUnreadableError,
)

MEMORY_LIMIT: Final = "512MB"
"""Ample for 20 million rows in the views' queries; the rest is spilled next to the file."""

THREADS: Final = 2
"""A reader with all cores would hold up the writer."""

LOCK_PATIENCE_SECONDS: Final = 10.0
"""How long to wait for another holder: commands that found no history process open the file for a moment."""

WRONG_OPTIMIZERS: Final = "statistics_propagation"
"""DuckDB 2.0.0 takes the rows that a join with a scalar subquery lets through for fewer than they are, derives from
that how large a sum can get, and then cuts the sum to so few bits or drops its row in HAVING: 600 people came out as
88, without an error. Off until ``test_sums_survive_a_join_with_a_scalar_subquery`` passes without this line."""

_LOCK_RETRY_SECONDS: Final = 0.2
_LOCK_MESSAGE: Final = "Could not set lock"


class Migration(NamedTuple):
    """One step of the schema."""

    name: str
    sql: str


def history_file(settings: Settings) -> Path:
    """Return where the history file of these settings is."""
    return settings.state_dir / "history" / "history.duckdb"


def migrations() -> list[Migration]:
    """Return every step of the schema, oldest first."""
    folder = resources.files("sinks") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


class Database:
    """One open history file. Threads take a cursor of their own and never share one."""

    def __init__(self, path: Path, connection: Any, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, patience: float = LOCK_PATIENCE_SECONDS) -> Self:
        """Open the file, creating and migrating it if it is opened for writing.

        Args:
            path: The file; its folder is created for the owner alone.
            read_only: Open an existing file without changing it; it must be of this version's schema.
            patience: Seconds to wait while another process holds it.

        Raises:
            HistoryLockedError: another process still holds it.
            HistoryNewerError: a newer version wrote it.
            HistoryMissingError: it is to be read and does not exist.
            HistoryUnreadableError: it cannot be opened at all.
        """
        if read_only and not path.exists():
            raise HistoryMissingError(path)
        database = cls(path, _connect(path, read_only=read_only, patience=patience), read_only=read_only)
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    def cursor(self) -> Any:
        """Return a connection of its own to the same file; the caller closes it."""
        return self._connection.cursor()

    def is_usable(self) -> bool:
        """Tell whether DuckDB still answers: after a fatal error it does not until the file is opened again."""
        try:
            self._connection.execute("SELECT 1").fetchall()
        except duckdb.Error:
            return False
        return True

    def reopen(self) -> None:
        """Close and open the file again: the way out after an error that made DuckDB give up on it."""
        self.close()
        self._connection = _connect(self.path, read_only=self.read_only, patience=0)
        self._prepare()

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the file."""
        self._connection.execute("CHECKPOINT")

    def close(self) -> None:
        """Close the file; cursors that are still open become useless."""
        self._connection.close()

    def size_bytes(self) -> int:
        """Return the size of the file with its write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + ".wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _prepare(self) -> None:
        if self.read_only:
            _check_version(self.path, self._connection)
        else:
            os.chmod(self.path, 0o600)  # noqa: PTH101 - Path.chmod follows the same rule, this one names the mode first
            migrate(self.path, self._connection)
        self._connection.execute(f"SET disabled_optimizers = '{WRONG_OPTIMIZERS}'")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")


def migrate(path: Path, connection: Any) -> list[str]:
    """Apply the migrations that the file does not have yet, then checkpoint.

    Returns:
        Names of those that were applied.

    Raises:
        HistoryNewerError: the file has migrations that this version does not know.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (name VARCHAR NOT NULL, applied_ms BIGINT NOT NULL)"
    )
    known = _check_version(path, connection)
    missing = [migration for migration in migrations() if migration.name not in known]
    for migration in missing:
        connection.begin()
        try:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?)", [migration.name, time.time_ns() // 1_000_000]
            )
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    if missing:
        connection.execute("CHECKPOINT")
    return [migration.name for migration in missing]


def _check_version(path: Path, connection: Any) -> set[str]:
    try:
        applied = {name for (name,) in connection.execute("SELECT name FROM schema_migrations").fetchall()}
    except duckdb.CatalogException:
        raise HistoryUnreadableError(path, "it holds no history") from None
    unknown = sorted(applied - {migration.name for migration in migrations()})
    if unknown:
        raise HistoryNewerError(path, unknown)
    return applied


def _connect(path: Path, *, read_only: bool, patience: float) -> Any:
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
    config = {
        "memory_limit": MEMORY_LIMIT,
        "threads": THREADS,
        "temp_directory": str(path.with_name("history.spill")),
    }
    deadline = time.monotonic() + patience
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=config)
        except duckdb.Error as error:
            if _LOCK_MESSAGE not in str(error):
                raise HistoryUnreadableError(path, _first_line(error)) from error
            if time.monotonic() > deadline:
                raise HistoryLockedError(path, _holder(error)) from error
        time.sleep(_LOCK_RETRY_SECONDS)


def _holder(error: Exception) -> str:
    _, found, rest = str(error).partition("PID ")
    return f"process {rest.partition(')')[0]}" if found else "of which DuckDB does not know the number"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
