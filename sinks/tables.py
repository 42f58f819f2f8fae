"""What goes into the history file and comes out of it at a start: a transaction a batch, rows and offsets together."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import duckdb

from pipeline.crashpoints import CrashPoint, reach
from pipeline.domain.records import Epoch
from pipeline.topics import EVENTS
from sinks.epochs import Epochs
from sinks.errors import HistoryWriteError
from sinks.plan import Batch, Known, SourceOffset
from sinks.positions import Position

CURRENT: Final = "current"
ANNOUNCED: Final = "announced"

_WORTH_RETRYING: Final = (
    duckdb.OperationalError,
    duckdb.InternalError,
    duckdb.FatalException,
)
"""Disk, memory and lock troubles pass; a value that does not fit its column never does."""

_STAGING: Final = """
CREATE TEMP TABLE incoming_stage_counts AS FROM stage_counts LIMIT 0;
CREATE TEMP TABLE incoming_dead_letters AS FROM dead_letters LIMIT 0;
CREATE TEMP TABLE touched_vacancies (organisation VARCHAR, vacancy_id VARCHAR);
"""


@dataclass(frozen=True, slots=True)
class Statements:
    """The SQL of a commit, read once."""

    merge_stage_counts: str
    merge_dead_letters: str
    forget_vacancies: str
    derive_vacancies: str

    @classmethod
    def load(cls) -> "Statements":
        """Read the files of ``sinks/writes``."""
        folder = resources.files("sinks") / "writes"
        return cls(*[(folder / f"{name}.sql").read_text("utf-8") for name in cls.__slots__])


class Writer:
    """Writes batches through a cursor of its own; there is one, in one thread."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._statements = Statements.load()
        cursor.execute(_STAGING)

    def write(self, batch: Batch, now_ms: int) -> None:
        """Commit a batch: all of it or nothing.

        Steps, in one transaction:
            1. append inputs, transitions and vacancy changes;
            2. replace the stage counts of newer windows, add dead letters of new places;
            3. derive the vacancies that changed;
            4. rewrite offsets, progress, ignored counts and epochs.

        Args:
            batch: What to write.
            now_ms: The time of the commit, shown as the age of the data.

        Raises:
            HistoryWriteError: the disk is full or failed; nothing was written and the batch can be written again.
        """
        try:
            self._cursor.begin()
            self._append("inputs", batch.inputs)
            self._append("transitions", batch.transitions)
            self._append("vacancy_changes", batch.vacancy_changes)
            self._merge_stage_counts(batch)
            self._merge_dead_letters(batch)
            self._derive_vacancies(batch)
            self._rewrite_positions(batch.after, now_ms)
            reach(CrashPoint.HISTORY_BEFORE_COMMIT)
            self._cursor.commit()
        except _WORTH_RETRYING as error:
            self._roll_back()
            raise HistoryWriteError(str(error).partition("\n")[0]) from error
        except BaseException:
            self._roll_back()
            raise
        reach(CrashPoint.HISTORY_AFTER_COMMIT)

    def forget_before(self, epoch: int) -> None:
        """Delete the rows of epochs that nobody reads any more, in a transaction of its own.

        Raises:
            HistoryWriteError: it failed; the rows stay and cost only space.
        """
        try:
            self._cursor.begin()
            for table in ("transitions", "stage_counts"):
                self._cursor.execute(f"DELETE FROM {table} WHERE epoch < ?", [epoch])  # noqa: S608 - two constants
            self._cursor.commit()
        except _WORTH_RETRYING as error:
            self._roll_back()
            raise HistoryWriteError(str(error).partition("\n")[0]) from error

    def close(self) -> None:
        """Give the cursor back."""
        self._cursor.close()

    def _append(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        if rows:
            with self._cursor.appender(table) as appender:
                appender.append_rows(rows)

    def _merge_stage_counts(self, batch: Batch) -> None:
        if batch.stage_counts:
            self._cursor.execute("TRUNCATE incoming_stage_counts")
            self._append("incoming_stage_counts", list(batch.stage_counts.values()))
            self._cursor.execute(self._statements.merge_stage_counts)

    def _merge_dead_letters(self, batch: Batch) -> None:
        if batch.dead_letters:
            self._cursor.execute("TRUNCATE incoming_dead_letters")
            self._append("incoming_dead_letters", list(batch.dead_letters.values()))
            self._cursor.execute(self._statements.merge_dead_letters)

    def _derive_vacancies(self, batch: Batch) -> None:
        touched = set(batch.changed_vacancies())
        if batch.dead_letters:
            touched.update(
                self._cursor.execute(
                    "SELECT DISTINCT organisation, vacancy_id FROM vacancy_changes c JOIN incoming_dead_letters d "
                    'ON c.partition = d.partition AND c."offset" = d."offset" WHERE d.topic = ?',
                    [EVENTS],
                ).fetchall()
            )
        if touched:
            self._cursor.execute("TRUNCATE touched_vacancies")
            self._append("touched_vacancies", sorted(touched))
            self._cursor.execute(self._statements.forget_vacancies)
            self._cursor.execute(self._statements.derive_vacancies, {"events": EVENTS})

    def _rewrite_positions(self, after: Known, now_ms: int) -> None:
        self._rewrite(
            "source_offsets",
            [
                (topic, partition, offset.topic_id, offset.first, offset.next, now_ms)
                for (topic, partition), offset in after.offsets.items()
            ],
        )
        self._rewrite(
            "progress", [(*key, *position, after.appended_at[key]) for key, position in after.progress.items()]
        )
        self._rewrite("ignored", [(*key, count) for key, count in after.ignored.items()])
        self._rewrite("epochs", _epoch_rows(after.epochs))

    def _rewrite(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        self._cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - table names are constants of this module
        self._append(table, rows)

    def _roll_back(self) -> None:
        with suppress(duckdb.Error):  # no transaction is open, or the file is given up: nothing of the batch stays
            self._cursor.rollback()


def load_known(cursor: Any) -> Known:
    """Read what the file holds, as the planner needs it."""
    offsets = {
        (topic, partition): SourceOffset(topic_id, first, following)
        for topic, partition, topic_id, first, following in cursor.execute(
            "SELECT topic, partition, topic_id, first_offset, next_offset FROM source_offsets"
        ).fetchall()
    }
    progress = cursor.execute("SELECT epoch, partition, to_offset, to_index, appended_at FROM progress").fetchall()
    ignored = cursor.execute("SELECT epoch, partition, reason, records FROM ignored").fetchall()
    return Known(
        offsets,
        {(epoch, partition): Position(offset, index) for epoch, partition, offset, index, _ in progress},
        {(epoch, partition): appended_at for epoch, partition, _, _, appended_at in progress},
        {(epoch, partition, reason): records for epoch, partition, reason, records in ignored},
        _epochs(cursor.execute("SELECT epoch, state, positions FROM epochs").fetchall()),
    )


def _epoch_rows(epochs: Epochs) -> list[tuple[int, str, dict[str, int]]]:
    rows: list[tuple[int, str, dict[str, int]]] = []
    if epochs.current is not None:
        rows.append((epochs.current, CURRENT, {}))
    if epochs.announced is not None:
        rows.append((epochs.announced.epoch, ANNOUNCED, epochs.announced.positions))
    return rows


def _epochs(rows: list[tuple[int, str, dict[str, int]]]) -> Epochs:
    current = next((epoch for epoch, state, _ in rows if state == CURRENT), None)
    announced = next((Epoch(epoch, positions) for epoch, state, positions in rows if state == ANNOUNCED), None)
    return Epochs(current, announced)
