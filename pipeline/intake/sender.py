"""The producer of intake: canonical records into the events topic, rejected lines into the dead letters.

Idempotent and acknowledged by all replicas, so that a retry neither loses nor doubles; the partition is
always ours to choose (``partition_of``), because the default partitioners of the Kafka libraries disagree.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.codec import Codec
from pipeline.deadletters import DeadLetterMessage
from pipeline.errors import TransientError
from pipeline.intake.ndjson import Canonical
from pipeline.topics import (
    DEAD_LETTERS,
    EVENTS,
    BrokerUnreachableError,
    TopicsDifferError,
    admin_client,
    partition_of,
    topic_id,
)

_ANSWER_SECONDS = 15.0
_DELIVERY_MS = 120_000
_POLL_EVERY = 2_000
_MAX_ORGANISATIONS = 100_000


class NotDeliveredError(TransientError):
    """The broker did not acknowledge a record in time."""

    def __init__(self, topic: str, problem: str) -> None:
        self.topic = topic
        super().__init__(
            f"the broker did not accept records for {topic} ({problem}). Nothing is lost: when it runs again, "
            "repeat the same command; what arrived already is recognised and not counted twice"
        )


@dataclass(frozen=True, slots=True)
class Destination:
    """The topics that intake writes to; tests have their own."""

    events: str = EVENTS
    dead_letters: str = DEAD_LETTERS


class RecordSink(Protocol):
    """Where records go: Kafka, or standard output."""

    def send(self, record: Canonical) -> None:
        """Take one record."""

    def poll(self) -> None:
        """Do what is due while nothing is taken."""

    def finish(self) -> None:
        """Return when all that was taken has arrived."""


class EventSender:
    """Sends records of one run; ``delivered`` is the last acknowledged offset of each partition."""

    def __init__(self, bootstrap: str, partitions: int, codec: Codec, to: Destination | None = None) -> None:
        self._to = to or Destination()
        self._codec = codec
        self._partitions = partitions
        self._routes: dict[str, tuple[bytes, int]] = {}
        self._since_poll = 0
        self._failure: str | None = None
        self.delivered: dict[int, int] = {}
        self.topic_id, self._dead_letter_partitions = _check(bootstrap, partitions, self._to)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": "parityflow-intake",
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 20,
                "batch.size": 512 * 1024,
                "delivery.timeout.ms": _DELIVERY_MS,
                "queue.buffering.max.messages": 100_000,
                "compression.type": "none",  # gzip costs more than the embedded broker's disk
                "log_level": 0,
            }
        )

    def send(self, record: Canonical) -> None:
        """Send one record to its organisation's partition.

        Raises:
            NotDeliveredError: an earlier record was not accepted.
        """
        organisation = record.organisation
        route = self._routes.get(organisation)
        if route is None:
            route = self._route(organisation)
        self._produce(self._to.events, self._codec.encode(record), route[0], route[1], self._acknowledged)

    def send_dead_letter(self, letter: DeadLetterMessage) -> None:
        """Send one dead letter; its partition follows its key, without a key the first one."""
        partition = partition_of(letter.key or b"", self._dead_letter_partitions)
        self._produce(self._to.dead_letters, letter.value, letter.key, partition, self._noted, headers=letter.headers)

    def poll(self) -> None:
        """Serve acknowledgements while nothing is sent.

        Raises:
            NotDeliveredError: a record was not accepted.
        """
        self._since_poll = 0
        self._producer.poll(0)
        self._raise_failure()

    def finish(self) -> None:
        """Return when the broker has everything.

        Raises:
            NotDeliveredError: it has not.
        """
        left = self._producer.flush(_DELIVERY_MS / 1000 + _ANSWER_SECONDS)
        self._raise_failure()
        if left:
            raise NotDeliveredError(self._to.events, f"{left} records unacknowledged")

    def _route(self, organisation: str) -> tuple[bytes, int]:
        key = organisation.encode()
        route = (key, partition_of(key, self._partitions))
        if len(self._routes) < _MAX_ORGANISATIONS:
            self._routes[organisation] = route
        return route

    def _produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int, on_delivery: Any, **more: Any
    ) -> None:
        self._since_poll += 1
        if self._since_poll >= _POLL_EVERY:
            self.poll()
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=on_delivery, **more)
            except BufferError:  # the broker is slower than we are: wait for it
                self._producer.poll(0.5)
                self._raise_failure()
            except KafkaException as error:
                raise NotDeliveredError(topic, str(error.args[0])) from None
            else:
                return

    def _acknowledged(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or error.str()
            return
        partition, offset = message.partition(), message.offset()
        if partition is not None and offset is not None and offset > self.delivered.get(partition, -1):
            self.delivered[partition] = offset

    def _noted(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = self._failure or error.str()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise NotDeliveredError(self._to.events, self._failure)


def _check(bootstrap: str, partitions: int, to: Destination) -> tuple[str, int]:
    """Return the id of the events topic and the number of dead letter partitions.

    Raises:
        BrokerUnreachableError: no broker answers.
        TopicsDifferError: a topic is missing or has another number of partitions.
    """
    admin = admin_client(bootstrap)
    try:
        topics = admin.list_topics(timeout=_ANSWER_SECONDS).topics
    except KafkaException as error:
        raise BrokerUnreachableError(bootstrap, error.args[0].str()) from None
    missing = [f"{name} does not exist" for name in (to.events, to.dead_letters) if name not in topics]
    if missing:
        raise TopicsDifferError(missing)
    found = len(topics[to.events].partitions)
    if found != partitions:
        raise TopicsDifferError([f"{to.events} has {found} partitions, expected {partitions} (PARITYFLOW_PARTITIONS)"])
    return topic_id(admin, to.events), len(topics[to.dead_letters].partitions)
