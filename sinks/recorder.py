"""The writing thread of history: reads Kafka, makes a plan of what came, commits it, and never skips.

When the disk is full or failing, the batch in hand is written again until it succeeds. Nothing more is read meanwhile:
librdkafka's queue fills up and Kafka keeps the rest.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import VacancyEvent
from pipeline.topics import EPOCHS
from sinks.database import Database
from sinks.errors import HistoryWriteError
from sinks.health import Condition, Health, now_ms
from sinks.metrics import HistoryMetrics
from sinks.plan import Batch, Known, Planner
from sinks.sources import Source, continue_from, describe
from sinks.tables import Writer, load_known

COLLECT_SECONDS: Final = 0.2
"""How long records are gathered for one commit: five commits a second cost 5 % of a core, and a board is at most this
much behind."""

MAX_ROWS: Final = 20_000
"""Rows after which a batch is committed at once: bounds memory while catching up, and costs nothing in speed."""

PROBE_EVERY_SECONDS: Final = 5.0
SHOW_OFFSETS_EVERY_SECONDS: Final = 1.0
FIRST_RETRY_SECONDS: Final = 0.5
LAST_RETRY_SECONDS: Final = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is full and how fast a failed commit is tried again; tests choose smaller ones."""

    collect_seconds: float = COLLECT_SECONDS
    max_rows: int = MAX_ROWS
    first_retry_seconds: float = FIRST_RETRY_SECONDS
    last_retry_seconds: float = LAST_RETRY_SECONDS


class Recorder:
    """Moves records from Kafka into the file until it is told to stop."""

    def __init__(
        self,
        database: Database,
        health: Health,
        metrics: HistoryMetrics,
        stop: threading.Event,
        limits: Limits | None = None,
    ) -> None:
        self._database = database
        self._health = health
        self._metrics = metrics
        self._stop = stop
        self._limits = limits or Limits()
        resolver = LocalResolver.load()
        self._codec = Codec(resolver)
        self._vacancy_schema_ids = frozenset(
            schema.schema_id for schema in resolver.schemas() if schema.name == VacancyEvent.__name__
        )
        self._writer = Writer(database.cursor())
        self._known = load_known(database.cursor())

    @property
    def known(self) -> Known:
        """What is committed."""
        return self._known

    def run(self, bootstrap: str, partitions: int) -> None:
        """Record until stopped.

        Args:
            bootstrap: Kafka addresses.
            partitions: How many partitions the topics must have.

        Raises:
            PipelineError: the topics are not what history has read, or hold what no agent writes.
        """
        topics = describe(bootstrap, partitions)
        self._read_epochs(bootstrap, continue_from(self._known, {EPOCHS: topics[EPOCHS]}), topics[EPOCHS].bounds[0][1])
        self._known = replace(self._known, offsets=continue_from(self._known, topics))
        self._forget_old_epochs()
        source = self._open(bootstrap)
        log.info("history_reading", partitions=partitions)
        self._health.become(Condition.READING)
        try:
            self._follow(source)
        finally:
            source.close()
            self._writer.close()

    def record(self, collect: Callable[[Planner], None]) -> Batch:
        """Make one batch of what ``collect`` takes and commit it if there is anything.

        Raises:
            ForeignRecordError, MissingOutputsError: what came cannot be counted.
        """
        planner = Planner(self._codec, self._vacancy_schema_ids, self._known)
        collect(planner)
        batch = planner.finish()
        if batch.records:
            self._commit(batch)
        return batch

    def _read_epochs(self, bootstrap: str, offsets: dict[Any, Any], end: int) -> None:
        """Learn of a new epoch before reading its outputs: an old epoch may then have gaps."""
        self._known = replace(self._known, offsets={**self._known.offsets, **offsets})
        source = self._open(bootstrap, only=EPOCHS)
        try:
            while self._known.offsets[EPOCHS, 0].next < end and not self._stop.is_set():
                self.record(lambda planner: self._collect(source, planner))
        finally:
            source.close()

    def _open(self, bootstrap: str, only: str | None = None) -> Source:
        offsets = {key: source.next for key, source in self._known.offsets.items() if only in (None, key[0])}
        return Source.open(bootstrap, offsets)

    def _follow(self, source: Source) -> None:
        heard = shown = time.monotonic()
        while not self._stop.is_set():
            batch = self.record(lambda planner: self._collect(source, planner))
            now = time.monotonic()
            if batch.records:
                heard = now
                if now - shown >= SHOW_OFFSETS_EVERY_SECONDS:
                    shown = now
                    source.show_offsets(self._known.offsets.items())
                    self._measure(source)
            elif now - heard >= PROBE_EVERY_SECONDS:
                heard = now
                self._probe(source)
        source.show_offsets(self._known.offsets.items())

    def _collect(self, source: Source, planner: Planner) -> None:
        deadline = time.monotonic() + self._limits.collect_seconds
        while (left := deadline - time.monotonic()) > 0 and planner.rows < self._limits.max_rows:
            record = source.read(left)
            if record is not None:
                planner.take(record)

    def _commit(self, batch: Batch) -> None:
        retry = self._limits.first_retry_seconds
        while True:
            start = time.monotonic()
            try:
                self._writer.write(batch, now_ms())
                break
            except HistoryWriteError as error:
                self._metrics.failed_commits.inc()
                self._health.become(Condition.NOT_WRITING, error.problem)
                log.warning("history_batch_not_committed", problem=error.problem, retry_seconds=retry)
            if self._stop.wait(retry):
                return
            retry = min(2 * retry, self._limits.last_retry_seconds)
            self._reopen()
        self._metrics.commit_seconds.observe(time.monotonic() - start)
        self._committed(batch)

    def _committed(self, batch: Batch) -> None:
        before, self._known = self._known, batch.after
        committed_ms = now_ms()
        self._health.committed(committed_ms)
        self._metrics.last_commit.set(committed_ms / 1000)
        self._metrics.file_bytes.set(self._database.size_bytes())
        for table in ("inputs", "transitions", "vacancy_changes", "stage_counts", "dead_letters"):
            self._metrics.rows.labels(table).inc(len(getattr(batch, table)))
        for (topic, partition), source in batch.after.offsets.items():
            self._metrics.records.labels(topic).inc(source.next - before.offsets[topic, partition].next)
        if batch.after.epochs.current != before.epochs.current:
            log.info("history_epoch_current", epoch=self._known.epochs.current)
            self._forget_old_epochs()

    def _forget_old_epochs(self) -> None:
        if self._known.epochs.current is None:
            return
        try:
            self._writer.forget_before(self._known.epochs.current)
        except HistoryWriteError as error:
            log.warning("history_old_epochs_not_deleted", problem=error.problem)

    def _reopen(self) -> None:
        """After some failed writes DuckDB gives up on the file until it is opened again."""
        if self._database.is_usable():
            return
        log.warning("history_file_reopened")
        try:
            self._database.reopen()
            self._writer = Writer(self._database.cursor())
        except Exception as error:  # noqa: BLE001 - tried again with the next attempt
            log.warning("history_file_not_opened", problem=str(error))

    def _probe(self, source: Source) -> None:
        if source.answers():
            if self._health.status.condition is Condition.NO_BROKER:
                self._health.become(Condition.READING)
            self._measure(source)
        else:
            self._health.become(Condition.NO_BROKER, "the Kafka broker does not answer")

    def _measure(self, source: Source) -> None:
        for (topic, partition), lag in source.lag(self._known.offsets).items():
            self._metrics.lag.labels(topic, str(partition)).set(lag)
