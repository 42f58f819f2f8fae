"""What flows while something breaks: records sent at a steady rate, and a reader of how far they are applied."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.domain.records import TransitionBatch
from pipeline.domain.state import PARTITION
from pipeline.topics import EVENTS, TRANSITIONS, changelog_of, log_bounds, partition_of
from tests.fault.processes import POLL_SECONDS, wait_until

PARTITIONS = 4
CODEC = Codec(LocalResolver.load())


class Wire(NamedTuple):
    """One record as a producer sends it."""

    partition: int
    key: bytes | None
    value: bytes | None


def wire(record: Any) -> Wire:
    """Return a record with the partition it belongs to."""
    key = record.organisation.encode()
    return Wire(partition_of(key, PARTITIONS), key, CODEC.encode(record))


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
        self.steps: dict[int, int] = {}
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
            self.steps[partition] = decoded.record.applied_steps
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
