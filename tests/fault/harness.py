"""A laboratory for faults: real workers and history as processes, a paced producer, readers, and the oracle.

Nothing here shares code with the agents but the codec and the record types; what is counted again comes from
``pipeline.recount``, which reads the input log back from the broker.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.crashpoints import VARIABLE, CrashPoint
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import DeadLetter, Transition, TransitionBatch
from pipeline.domain.state import PARTITION, PartitionState
from pipeline.kafka_log import plain_producer, read_partition
from pipeline.recount import ArchivedInput, Cell, Recount, recount
from pipeline.settings import Settings
from pipeline.setup_topics import apply_all
from pipeline.state_log import agent_days, read_state
from pipeline.topics import (
    DEAD_LETTERS,
    EVENTS,
    TRANSITIONS,
    admin_client,
    changelog_of,
    log_bounds,
    partition_of,
)
from tests.broker_provider import Kafka

PARTITIONS = 4
CODEC = Codec(LocalResolver.load())
ROOT = Path(__file__).parents[2]
WORKER = ("worker", "funnel")
HISTORY = ("history",)
WORKER_CRASHES = (
    CrashPoint.BEFORE_OUTPUTS,
    CrashPoint.AFTER_OUTPUTS,
    CrashPoint.AFTER_STATE_BATCH,
    CrashPoint.BEFORE_ACK,
)
HISTORY_CRASHES = (CrashPoint.HISTORY_BEFORE_COMMIT, CrashPoint.HISTORY_AFTER_COMMIT)
POLL_SECONDS = 0.02


class Wire(NamedTuple):
    """One record as a producer sends it."""

    partition: int
    key: bytes | None
    value: bytes | None


def wire(record: Any) -> Wire:
    """Return a record with the partition it belongs to."""
    key = record.organisation.encode()
    return Wire(partition_of(key, PARTITIONS), key, CODEC.encode(record))


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when something holds; fail and say what did not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(POLL_SECONDS)


class Child:
    """One process of the project, in a process group of its own."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", *command],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        if self.exit_code is None:
            self.send(signal.SIGKILL)
        self._process.wait(10)

    def stop(self, seconds: float = 30) -> int:
        """Tell it to end and return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:.0f} s:\n{self.tail()}") from None

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the structured log lines with an event name."""
        mark, found = f'"event": "{event}"', []
        for line in self.text().splitlines():
            if mark in line:
                with suppress(json.JSONDecodeError):  # the last line may be half written
                    found.append(json.loads(line))
        return found

    def wait_for(self, event: str, seconds: float = 30) -> dict[str, Any]:
        """Return the first log line with an event name, once it is there."""
        wait_until(lambda: bool(self.said(event)) or self.exit_code is not None, seconds, f"{event} in\n{self.tail()}")
        said = self.said(event)
        assert said, f"ended without {event}:\n{self.tail()}"
        return said[0]

    def partitions(self) -> set[int]:
        """Return the partitions of its last assignment."""
        lines = self.said("partition_assigned")
        return {line["partition"] for line in lines if line["assignment"] == lines[-1]["assignment"]}

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self, characters: int = 3000) -> str:
        return self.text()[-characters:]


class PacedProducer(threading.Thread):
    """Sends records at a steady rate, at most ``allowed`` of them, so that work is coming while something breaks."""

    def __init__(self, bootstrap: str, records: Sequence[Wire], rate: float, allowed: int) -> None:
        super().__init__(daemon=True)
        self._records = records
        self._rate = rate
        self.allowed = allowed
        self._halt = threading.Event()
        self.sent = 0
        self.ends: Counter[int] = Counter()
        self.failures: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "gzip",  # a fetch may then hold many times its size
                "message.max.bytes": 4_000_000,
                "log_level": 0,
            }
        )

    def run(self) -> None:
        due = time.monotonic()
        for number, record in enumerate(self._records, 1):
            due += 1 / self._rate
            while (time.monotonic() < due or number > self.allowed) and not self._halt.is_set():
                time.sleep(POLL_SECONDS)
                self._producer.poll(0)
                if number > self.allowed:
                    due = time.monotonic()
            if self._halt.is_set():
                break
            self._produce(record)
        left = self._producer.flush(60)
        if left:
            self.failures.append(f"{left} records were not acknowledged")

    def _produce(self, record: Wire) -> None:
        while True:
            try:
                self._producer.produce(
                    EVENTS, record.value, record.key, partition=record.partition, on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.sent += 1
                return

    def _delivered(self, error: Any, message: Message) -> None:
        if error is not None:
            self.failures.append(str(error))
        else:
            self.ends[message.partition()] = max(self.ends[message.partition()], message.offset() + 1)

    def finish(self, seconds: float = 120) -> dict[int, int]:
        """Wait until all is sent and acknowledged; return the input ends."""
        self.join(seconds)
        assert not self.is_alive(), f"only {self.sent} of {len(self._records)} records are sent"
        assert not self.failures, self.failures[:3]
        return dict(self.ends)

    def halt(self) -> dict[int, int]:
        """Send no more; return the input ends."""
        self._halt.set()
        return self.finish(60)

    def abandon(self) -> None:
        """Send no more and do not care what becomes of the rest."""
        self._halt.set()
        self._producer.purge()
        self.join(10)


class BatchHead(NamedTuple):
    """The first fields of a ``TransitionBatch``."""

    epoch: int
    partition: int
    from_offset: int
    from_index: int
    to_offset: int


_read_head = CODEC.head_decoder(TransitionBatch, BatchHead)


class StateWatch(threading.Thread):
    """Follows the state log and the transitions: how far input is applied, and how far outputs say that it is."""

    def __init__(self, bootstrap: str, epoch: int) -> None:
        super().__init__(daemon=True)
        self._epoch = epoch
        self._changelog = changelog_of(epoch)
        self._halt = threading.Event()
        self.applied: dict[int, int] = {}
        self.said: dict[int, int] = {}
        self.deletions = 0
        self.read_to: Counter[tuple[str, int]] = Counter()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "fault.watch",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        topics = self._changelog, TRANSITIONS
        self._consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in range(PARTITIONS)])
        self.start()

    def run(self) -> None:
        while not self._halt.is_set():
            for message in self._consumer.consume(2000, 0.05):
                if message.error() is None:
                    self._take(message)
        self._consumer.close()

    def _take(self, message: Message) -> None:
        partition = message.partition()
        if message.topic() == TRANSITIONS:
            head = _read_head(message.value())
            if head.epoch == self._epoch:
                self.said[partition] = max(head.to_offset, self.said.get(partition, -1))
        elif message.key() == PARTITION:
            decoded = CODEC.decode(message.value())
            assert isinstance(decoded, Decoded)
            self.applied[partition] = max(decoded.record.applied_offset, self.applied.get(partition, -1))
        self.deletions += message.value() is None
        self.read_to[message.topic(), partition] = message.offset() + 1

    def total(self) -> int:
        """Return how many input records are applied in all."""
        return sum(offset + 1 for offset in self.applied.values())

    def catch_up(self, admin: Any) -> None:
        """Read on to where both topics end now."""
        for topic in (self._changelog, TRANSITIONS):
            ends = log_bounds(admin, topic, PARTITIONS)
            wait_until(
                lambda topic=topic, ends=ends: all(self.read_to[topic, n] >= end for n, (_, end) in ends.items()),
                30,
                f"{topic} is read",
            )

    def abandon(self) -> None:
        """Follow no more."""
        self._halt.set()
        self.join(20)


@dataclass(slots=True)
class Outputs:
    """The output topics as a reader takes them.

    Attributes:
        cells: Net counts of the transitions, each position taken once.
        repeated: Outputs that were sent more than once (by position).
        sent: Transitions in the raw topic.
        ends: Offset per partition up to which outputs cover the input.
        dead_letters: Reason by (partition, offset).
        dead_letters_sent: Dead letters in the raw topic.
        batches: Transitions per batch in the raw topic.
    """

    cells: dict[Cell, int]
    repeated: int
    sent: int
    ends: dict[int, int]
    dead_letters: dict[tuple[int, int], str]
    dead_letters_sent: int
    batches: int


@dataclass(slots=True)
class Lab:
    """A broker with topics, and what runs on it."""

    kafka: Kafka
    folder: Path
    session_timeout: float = 6.0
    children: list[Child] = field(default_factory=list)
    threads: list[StateWatch | PacedProducer] = field(default_factory=list)
    admin: Any = field(init=False)

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def settings(self) -> Settings:
        return Settings(
            state_dir=self.folder,
            bootstrap_servers=self.bootstrap,
            partitions=PARTITIONS,
            session_timeout_seconds=self.session_timeout,
        )

    def __post_init__(self) -> None:
        self.admin = admin_client(self.bootstrap)

    def apply_topics(self) -> None:
        apply_all(self.settings)

    def start(self, command: Sequence[str] = WORKER, crash: str | None = None) -> Child:
        """Start a worker or history."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PARITYFLOW_")}
        env |= {
            "PARITYFLOW_STATE_DIR": str(self.folder),
            "PARITYFLOW_BOOTSTRAP_SERVERS": self.bootstrap,
            "PARITYFLOW_PARTITIONS": str(PARTITIONS),
            "PARITYFLOW_SESSION_TIMEOUT_SECONDS": str(self.session_timeout),
            "PARITYFLOW_BOARDS_PORT": "0",
        }
        if crash is not None:
            env[VARIABLE] = crash
        log = self.folder / f"{len(self.children):02d}-{command[-1]}.log"
        child = Child(command, env, log)
        self.children.append(child)
        return child

    def produce(self, records: Sequence[Wire], rate: float, allowed: int | None = None) -> PacedProducer:
        """Begin to send records at a steady rate, all of them or as many as are allowed for now."""
        producer = PacedProducer(self.bootstrap, records, rate, len(records) if allowed is None else allowed)
        self.threads.append(producer)
        producer.start()
        return producer

    def send(self, records: Sequence[Wire]) -> dict[int, int]:
        """Send records at once; return the input ends after them."""
        return self.produce(records, 1e9).finish()

    def watch(self, epoch: int = 1) -> StateWatch:
        """Begin to follow the state log."""
        watch = StateWatch(self.bootstrap, epoch)
        self.threads.append(watch)
        return watch

    def input_ends(self) -> dict[int, int]:
        return {number: end for number, (_, end) in log_bounds(self.admin, EVENTS, PARTITIONS).items()}

    def applied(self, watch: StateWatch) -> dict[int, int]:
        """Return the last applied offsets of the state log as it is now."""
        watch.catch_up(self.admin)
        return dict(watch.applied)

    def partition_state(self, partition: int, epoch: int = 1) -> PartitionState:
        """Return what the state log says of a partition."""
        decoded = CODEC.decode(read_state(self.bootstrap, epoch, partition)[PARTITION])
        assert isinstance(decoded, Decoded)
        state = decoded.record
        assert isinstance(state, PartitionState)
        return state

    def wait_applied(self, watch: StateWatch, ends: dict[int, int], seconds: float = 60) -> None:
        """Return when the input before ``ends`` is applied."""

        def is_applied() -> bool:
            return all(watch.applied.get(number, -1) >= end - 1 for number, end in ends.items())

        running = [child for child in self.children if child.exit_code is None]
        wait_until(
            is_applied,
            seconds,
            f"input {ends} is applied, found {watch.applied}; " + "\n".join(child.tail(1500) for child in running),
        )

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for child in self.children:
            child.kill()
        for thread in self.threads:
            thread.abandon()

    # -- the comparison ----------------------------------------------------------------------------------------------

    def outputs(self, epoch: int = 1) -> Outputs:
        """Read the output topics to their ends as a reader does: filter by position, nothing may be missing."""
        found = Outputs({}, 0, 0, {}, {}, 0, 0)
        cells: Counter[Cell] = Counter()
        for partition in range(PARTITIONS):
            self._read_transitions(epoch, partition, found, cells)
            self._read_dead_letters(partition, found)
        found.cells = {cell: count for cell, count in cells.items() if count}
        return found

    def _read_transitions(self, epoch: int, partition: int, found: Outputs, cells: Counter[Cell]) -> None:
        last: tuple[int, int] | None = None
        seen: dict[tuple[int, int], Transition] = {}
        for message in read_partition(self.bootstrap, TRANSITIONS, partition):
            decoded = CODEC.decode(message.value())
            assert isinstance(decoded, Decoded)
            batch = decoded.record
            assert isinstance(batch, TransitionBatch)
            if batch.epoch != epoch:
                continue
            found.batches += 1
            found.sent += len(batch.transitions)
            start, end = (batch.from_offset, batch.from_index), (batch.to_offset, batch.to_index)
            assert last is None or start <= last, f"partition {partition}: outputs are missing before {start}"
            for item in batch.transitions:
                position = item.offset, item.index
                if position in seen:
                    assert seen[position] == item, f"partition {partition}: two outputs at {position}"
                    found.repeated += 1
                elif last is None or position > last:
                    seen[position] = item
                    _add(cells, item)
            last = end if last is None else max(last, end)
        found.ends[partition] = -1 if last is None else last[0]

    def _read_dead_letters(self, partition: int, found: Outputs) -> None:
        for message in read_partition(self.bootstrap, DEAD_LETTERS, partition):
            decoded = CODEC.decode(message.value())
            assert isinstance(decoded, Decoded)
            letter = decoded.record
            assert isinstance(letter, DeadLetter)
            assert letter.topic == EVENTS
            found.dead_letters_sent += 1
            known = found.dead_letters.setdefault((letter.partition, letter.offset), letter.reason)
            assert known == letter.reason

    def inputs(self) -> Iterator[ArchivedInput]:
        """Yield the input log as the broker holds it."""
        for partition in range(PARTITIONS):
            for message in read_partition(self.bootstrap, EVENTS, partition):
                appended_at = message.timestamp()[1]
                yield ArchivedInput(partition, message.offset(), appended_at, message.key(), message.value())

    def recount(self) -> Recount:
        """Count everything again, independently."""
        return recount(
            self.inputs(), CODEC, partitions=PARTITIONS, timezone=self.settings.timezone, keep_contributions=False
        )

    def state_cells(self, epoch: int = 1) -> dict[Cell, int]:
        """Return the day counts of the agents' state."""
        return {
            Cell(day.organisation, day.day, *cell): count
            for day in agent_days(self.bootstrap, CODEC, epoch, PARTITIONS)
            for cell, count in day.cells.items()
        }

    def assert_exact(self, epoch: int = 1) -> Outputs:
        """Compare outputs, state and dead letters with the oracle: equal, not close."""
        right, found = self.recount(), self.outputs(epoch)
        assert right.cells, "nothing was counted"
        assert_same("transitions", found.cells, right.cells)
        assert_same("state", self.state_cells(epoch), right.cells)
        expected = {(one.partition, one.offset): one.reason for one in right.rejected}
        assert_same("dead letters", found.dead_letters, expected)
        return found

    # -- what happened -----------------------------------------------------------------------------------------------

    def kept_through_two_rebalances(self) -> int:
        """Count partitions that a worker kept through two rebalances in a row and then counted new records of."""
        kept = 0
        for child in self.children:
            next_offsets: defaultdict[int, dict[int, int]] = defaultdict(dict)
            for line in child.said("partition_assigned"):
                next_offsets[line["partition"]][line["assignment"]] = line["next_offset"]
            for line in child.said("partition_counting"):
                before = next_offsets[line["partition"]]
                number = line["assignment"]
                if {number - 2, number - 1, number} <= before.keys() and line["applied_offset"] >= before[number]:
                    kept += 1
        return kept


def assert_same(what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    """Compare two dictionaries and show a few differences instead of all of both."""
    if found == expected:
        return
    wrong = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    shown = "\n".join(f"{key}: found {found.get(key)}, expected {expected.get(key)}" for key in wrong[:10])
    raise AssertionError(f"{what}: {len(wrong)} of {len(expected)} differ\n{shown}")


def _add(cells: Counter[Cell], item: Transition) -> None:
    for one in item.contributions:
        place = item.organisation, one.day, one.kind, one.name, one.outcome
        cells[Cell(*place, None, None)] += item.sign
        for characteristic, group in zip(CHARACTERISTICS, item.groups, strict=True):
            cells[Cell(*place, characteristic, group)] += item.sign


@dataclass(slots=True)
class Freezer:
    """Stops the time of a worker in the middle of work, for others to kill it or take its place.

    It is stopped at random moments, until input is found unapplied that only it could have applied, and preferably
    where outputs are sent of which the state knows nothing; at other moments it goes on.
    """

    lab: Lab
    watch: StateWatch
    producer: PacedProducer
    random: random.Random
    between_outputs_and_state: int = 0

    def freeze(self, worker: Child, patience: float, seconds: float = 30) -> None:
        """Stop a worker; after ``patience`` seconds any unapplied input will do."""
        begun = time.monotonic()
        while True:
            time.sleep(self.random.random() * 0.1)
            partitions = worker.partitions()
            ends = {number: self.producer.ends[number] for number in partitions}
            worker.send(signal.SIGSTOP)
            self._let_arrive(partitions)
            is_between = any(self.watch.said.get(n, -1) > self.watch.applied[n] for n in partitions)
            is_unapplied = any(self.watch.applied[number] < end - 1 for number, end in ends.items())
            waited = time.monotonic() - begun
            if is_unapplied and (is_between or waited > patience):
                self.between_outputs_and_state += is_between
                return
            assert waited < seconds, "input was never found unapplied"
            worker.send(signal.SIGCONT)
            if not is_unapplied:
                self.producer.allowed += 200

    def _let_arrive(self, partitions: set[int]) -> None:
        """Wait until the broker has what a worker had sent before its time was stopped."""

        def state() -> list[Any]:
            self.watch.catch_up(self.lab.admin)
            return [(self.watch.said.get(number), self.watch.applied[number]) for number in sorted(partitions)]

        known = None
        while known != (known := state()):
            time.sleep(0.05)


@dataclass(slots=True)
class Kills:
    """Kills of one worker after another, each in the middle of work."""

    freezer: Freezer
    recovery_seconds: list[float] = field(default_factory=list)

    def kill(self, worker: Child, seconds: float = 30) -> None:
        """Wait until the worker counts again, let it count a random part of what waits, kill it in the middle."""
        watch, producer = self.freezer.watch, self.freezer.producer
        before, begun = watch.total(), time.monotonic()
        wait_until(
            lambda: watch.total() > before or worker.exit_code is not None, seconds, f"counting again\n{worker.tail()}"
        )
        assert worker.exit_code is None, worker.tail()
        self.recovery_seconds.append(time.monotonic() - begun)
        counted = watch.total()
        goal = counted + self.freezer.random.random() * 0.5 * (sum(producer.ends.values()) - counted)
        wait_until(lambda: watch.total() >= goal, seconds, "what waits is counted")
        self.freezer.freeze(worker, patience=1.5)
        worker.kill()


def append_stale(
    bootstrap: str, epoch: int, partition: int, records: Sequence[tuple[bytes, bytes | None, Any]]
) -> None:
    """Append (key, value, headers) to a state log like a worker that does not know that it was replaced."""
    producer = plain_producer(bootstrap)
    for key, value, headers in records:
        producer.produce(changelog_of(epoch), key=key, value=value, partition=partition, headers=headers)
    assert producer.flush(30) == 0
