"""The Kafka side of history: where to read on, whether the topics still are what was read, and the reading itself.

Partitions are assigned by hand and read from the offsets in the file. Offsets are committed to Kafka too, but only so
that tools can show the lag; nothing ever reads them back.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.topics import EPOCHS, EVENTS, TRANSITIONS, BrokerUnreachableError, admin_client, log_bounds, topic_id
from sinks.errors import SourceTopicError
from sinks.plan import TOPICS, Known, SourceOffset, SourceRecord

GROUP: Final = "parityflow.history"

QUEUED_KILOBYTES: Final = 32 * 1024
"""What librdkafka may read ahead; bounds the memory of a history that has to catch up."""

FETCH_RECORDS: Final = 500
"""Records taken from librdkafka's queue at a time: one call for many is four times as fast as one for each."""

PROBE_SECONDS: Final = 3.0
"""How long a silent broker may take to answer before it counts as lost."""

START_SECONDS: Final = 30.0
"""How long a broker may take to answer at the start; then the supervisor tries again."""

_PASSING: Final = frozenset(
    {  # librdkafka gives its own codes a leading underscore; they are public
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""librdkafka goes on by itself after these."""


class Topic(NamedTuple):
    """What the broker says about a topic: its id and per partition the first offset and the one after the last."""

    topic_id: str
    bounds: Mapping[int, tuple[int, int]]


def describe(bootstrap: str, partitions: int) -> dict[str, Topic]:
    """Ask the broker about the topics that history reads.

    Args:
        bootstrap: Kafka addresses.
        partitions: How many partitions the topics must have.

    Raises:
        BrokerUnreachableError: no broker answers.
        SourceTopicError: a topic is missing or has another number of partitions.
    """
    try:
        return _describe(admin_client(bootstrap), partitions)
    except KafkaException as error:
        raise BrokerUnreachableError(bootstrap, error.args[0].str()) from None


def _describe(admin: Any, partitions: int) -> dict[str, Topic]:
    listed = admin.list_topics(timeout=START_SECONDS).topics
    existing = {name: len(topic.partitions) for name, topic in listed.items()}
    found: dict[str, Topic] = {}
    for topic in TOPICS:
        expected = 1 if topic == EPOCHS else partitions
        if existing.get(topic) != expected:
            count = existing.get(topic)
            what = "the topic does not exist" if count is None else f"{count} partitions"
            raise SourceTopicError(
                topic,
                f"expected {expected} partitions, found {what}. Run parityflow topics apply, or set "
                "PARITYFLOW_PARTITIONS to the number the topics were created with",
            )
        found[topic] = Topic(topic_id(admin, topic), log_bounds(admin, topic, expected))
    return found


def continue_from(known: Known, topics: Mapping[str, Topic]) -> dict[tuple[str, int], SourceOffset]:
    """Return where to read on in every partition, if the topics still hold what comes next.

    Args:
        known: What the file holds.
        topics: What the broker says.

    Raises:
        SourceTopicError: a topic was made anew, lost its end, or no longer has what history has not read yet.
    """
    offsets: dict[tuple[str, int], SourceOffset] = {}
    for name, topic in topics.items():
        for partition, (start, end) in topic.bounds.items():
            source = known.offsets.get((name, partition))
            if source is None:
                source = _first_time(name, partition, start, topic.topic_id)
            elif source.topic_id != topic.topic_id:
                raise SourceTopicError(
                    name,
                    f"expected the topic with id {source.topic_id}, found {topic.topic_id}: it was deleted and made "
                    "again. Restore the broker's data, or move the history folder away to begin a new history",
                )
            elif source.next > end:
                raise SourceTopicError(
                    name,
                    f"partition {partition} ends at offset {end}, but history has read up to {source.next}: the broker "
                    "has lost records. Restore its data, or run parityflow rebuild",
                )
            elif source.next < start:
                source = _expired(known, name, partition, start, source)
            offsets[name, partition] = source
    return offsets


def _first_time(topic: str, partition: int, start: int, identity: str) -> SourceOffset:
    if topic == TRANSITIONS and start > 0:
        raise SourceTopicError(
            topic,
            f"partition {partition} starts at offset {start}, and history has read none of it: outputs have expired. "
            "Put the history file back, or begin anew with new topics",
        )
    return SourceOffset(identity, start, start)


def _expired(known: Known, topic: str, partition: int, start: int, source: SourceOffset) -> SourceOffset:
    if topic == TRANSITIONS and known.epochs.announced is not None:
        return source._replace(next=start)  # a rebuild is on its way, the old epoch need not be complete
    if topic in {EVENTS, TRANSITIONS}:
        way_out = (
            "Put back the records, or begin anew with new topics: the archive would have a hole"
            if topic == EVENTS
            else "Run parityflow rebuild to build the counts again from the archive"
        )
        raise SourceTopicError(
            topic,
            f"partition {partition} now starts at offset {start}, but history has only read up to {source.next}: "
            f"records expired while it was down. {way_out}. PARITYFLOW_INPUT_RETENTION_DAYS keeps them longer",
        )
    return source._replace(next=start)


class Source:
    """Reads partitions from given offsets, in the order of each log."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._waiting: deque[SourceRecord] = deque()

    @classmethod
    def open(cls, bootstrap: str, offsets: Mapping[tuple[str, int], int]) -> Self:
        """Connect and go to the offsets.

        Args:
            bootstrap: Kafka addresses.
            offsets: The next offset to read of each (topic, partition).
        """
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": QUEUED_KILOBYTES,
                "fetch.wait.max.ms": 100,
                "max.poll.interval.ms": 86_400_000,  # a full disk may hold up the reading for long
                "log_level": 2,
                "allow.auto.create.topics": False,
            }
        )
        consumer.assign([TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()])
        return cls(consumer)

    def read(self, timeout: float) -> SourceRecord | None:
        """Return the next record, or None when there is none within ``timeout`` seconds.

        Raises:
            SourceTopicError: a topic is gone, or no longer holds the next offset.
        """
        if not self._waiting:
            self._fetch(timeout)
        return self._waiting.popleft() if self._waiting else None

    def _fetch(self, timeout: float) -> None:
        for message in self._consumer.consume(FETCH_RECORDS, timeout):
            error = message.error()
            if error is None:
                self._waiting.append(
                    SourceRecord(
                        message.topic(),
                        message.partition(),
                        message.offset(),
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                    )
                )
            elif error.code() not in _PASSING:
                raise SourceTopicError(str(message.topic()), f"{error.str()}. Check that the topic still exists")

    def answers(self) -> bool:
        """Ask the broker for one offset: tells a quiet log from a lost broker."""
        try:
            self._consumer.get_watermark_offsets(TopicPartition(EVENTS, 0), timeout=PROBE_SECONDS)
        except KafkaException:
            return False
        return True

    def lag(self, offsets: Mapping[tuple[str, int], SourceOffset]) -> dict[tuple[str, int], int]:
        """Return how many records of each partition are not read, by the broker's last answer."""
        lags: dict[tuple[str, int], int] = {}
        for (topic, partition), source in offsets.items():
            bounds = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if bounds is not None and bounds[1] >= 0:
                lags[topic, partition] = max(0, bounds[1] - source.next)
        return lags

    def show_offsets(self, offsets: Iterable[tuple[tuple[str, int], SourceOffset]]) -> None:
        """Commit offsets to Kafka for tools that show lag; nobody waits for it and nobody reads it."""
        positions = [TopicPartition(topic, partition, source.next) for (topic, partition), source in offsets]
        try:
            self._consumer.commit(offsets=positions, asynchronous=True)
        except KafkaException:
            return

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
