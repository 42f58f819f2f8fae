"""A history without Kafka: records are put into numbered logs and recorded from there."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import (
    WHOLE_RECORD,
    Contribution,
    Epoch,
    Transition,
    TransitionBatch,
    VacancyEvent,
)
from pipeline.topics import EPOCHS, EVENTS, TRANSITIONS
from sinks.database import Database
from sinks.health import Health
from sinks.metrics import HistoryMetrics
from sinks.plan import TOPICS, Batch, Planner, SourceOffset, SourceRecord
from sinks.recorder import Limits, Recorder

UNKNOWN = ("unknown:not_known",) * 9
WOMEN = ("nhs_ethnic_category:A", "nhs_disability:no", "nhs_stated_gender:2", *UNKNOWN[3:])
DAY_MS = 86_400_000


class Build:
    """Makes records with everything that a test does not care about filled in."""

    codec = Codec(LocalResolver.load())
    women = WOMEN
    unknown = UNKNOWN

    def contribution(self, kind: str, name: str, outcome: str = "", day: int = 19_800) -> Contribution:
        return Contribution(kind, name, outcome, day, day, day * DAY_MS + 36_000_000)

    def arrival(self, stage: str, day: int = 19_800) -> Contribution:
        return self.contribution("arrival", stage, day=day)

    def outcome(self, step: str, outcome: str, day: int = 19_800) -> Contribution:
        return self.contribution("outcome", step, outcome, day)

    def transition(
        self,
        offset: int,
        index: int,
        *contributions: Contribution,
        application: str = "a1",
        sign: int = 1,
        **fields: Any,
    ) -> Transition:
        made = Transition(offset, index, sign, "RX1", application, "v1", None, None, None, UNKNOWN, contributions)
        return made._replace(**fields)

    def batch(
        self,
        start: tuple[int, int] | int,
        end: tuple[int, int] | int,
        transitions: Iterable[Transition] = (),
        epoch: int = 1,
        partition: int = 0,
        **fields: Any,
    ) -> TransitionBatch:
        first = start if isinstance(start, tuple) else (start, WHOLE_RECORD)
        last = end if isinstance(end, tuple) else (end, WHOLE_RECORD)
        made = TransitionBatch(epoch, partition, *first, *last, 1_700_000_000_000, 1, [], list(transitions))
        return made._replace(**fields)

    def vacancy(
        self, event_id: str, event_type: str = "updated", event_time: int = 1000, **fields: Any
    ) -> VacancyEvent:
        made = VacancyEvent(event_id, event_type, event_time, event_time, "test", "RX1", "v1")
        return made._replace(**fields)


class Logs:
    """The topics of one partition each, without a broker."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], int] = {}

    def put(self, topic: str, *records: tuple[Any, ...] | bytes | None, partition: int = 0) -> list[SourceRecord]:
        """Append records and return them as history reads them."""
        made = []
        for record in records:
            offset = self._ends.get((topic, partition), 0)
            self._ends[topic, partition] = offset + 1
            value = record if record is None or isinstance(record, bytes) else Build.codec.encode(record)
            made.append(SourceRecord(topic, partition, offset, 1_700_000_000_000, b"RX1", value))
        return made


class History:
    """A file with its recorder; ``record`` commits one batch."""

    def __init__(self, path: Path, partitions: int = 1) -> None:
        self.path = path
        self._partitions = partitions
        self.database = Database.open(path, patience=0)
        self.health = Health()
        self.stop = threading.Event()
        self.logs = Logs()
        self._start()

    def _start(self) -> None:
        limits = Limits(first_retry_seconds=0.01, last_retry_seconds=0.05)
        self.recorder = Recorder(self.database, self.health, HistoryMetrics.create(), self.stop, limits)
        missing = {
            (topic, partition): SourceOffset(f"id of {topic}", 0, 0)
            for topic in TOPICS
            for partition in range(1 if topic == EPOCHS else self._partitions)
        }
        known = self.recorder.known
        self.recorder._known = replace(known, offsets=missing | dict(known.offsets))

    def restart(self) -> None:
        """Open the file anew, as after a stop."""
        self.database.close()
        self.database = Database.open(self.path, patience=0)
        self._start()

    def record(self, *records: SourceRecord) -> Batch:
        def collect(planner: Planner) -> None:
            for record in records:
                planner.take(record)

        return self.recorder.record(collect)

    def put(self, topic: str, *records: tuple[Any, ...] | bytes | None, partition: int = 0) -> Batch:
        return self.record(*self.logs.put(topic, *records, partition=partition))

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        cursor = self.database.cursor()
        try:
            return cursor.execute(sql, parameters).fetchall()
        finally:
            cursor.close()

    def everything(self) -> list[list[tuple[Any, ...]]]:
        """Return all that the file says, but when it was committed."""
        statements = (
            "SELECT * FROM inputs ORDER BY ALL",
            "SELECT * FROM transitions ORDER BY ALL",
            "SELECT * FROM vacancies ORDER BY ALL",
            "SELECT * FROM stage_counts ORDER BY epoch, organisation, window_days",
            "SELECT * EXCLUDE received_ms FROM dead_letters ORDER BY ALL",
            "SELECT * FROM progress ORDER BY ALL",
            "SELECT * FROM ignored ORDER BY ALL",
            "SELECT epoch, state FROM epochs ORDER BY ALL",
        )
        return [self.rows(statement) for statement in statements]


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history" / "history.duckdb")
    made.put(EPOCHS, Epoch(1, {}))
    yield made
    made.database.close()


@pytest.fixture
def seeded(history: History, build: Build) -> History:
    """One vacancy, three applications: one accepted, one rejected after the shortlist, one waiting."""
    day = 19_800
    history.put(
        EVENTS, build.vacancy("e1", "opened", 10, reference="REF-1", title="Nurse", ats_url="https://ats.example/v1")
    )
    accepted = [
        build.arrival("applied", day),
        build.arrival("shortlisted", day + 1),
        build.outcome("shortlisting", "selected", day + 1),
        build.arrival("offered", day + 2),
        build.outcome("interview", "selected", day + 2),
        build.arrival("accepted", day + 3),
        build.outcome("overall", "selected", day + 3),
    ]
    rejected = [
        build.arrival("applied", day),
        build.arrival("shortlisted", day + 1),
        build.outcome("shortlisting", "selected", day + 1),
        build.outcome("interview", "not_selected", day + 2),
        build.outcome("overall", "not_selected", day + 2),
    ]
    history.put(
        TRANSITIONS,
        build.batch(
            -1,
            9,
            [
                build.transition(1, 0, *accepted, application="a1", groups=build.women),
                build.transition(2, 0, *rejected, application="a2"),
                build.transition(3, 0, build.arrival("applied", day), application="a3"),
            ],
        ),
    )
    return history


@pytest.fixture
def open_history_at() -> Iterator[Callable[[Path], History]]:
    """Open histories that another process has written."""
    opened: list[History] = []

    def open_at(path: Path) -> History:
        opened.append(History(path))
        return opened[-1]

    yield open_at
    for made in opened:
        made.database.close()
