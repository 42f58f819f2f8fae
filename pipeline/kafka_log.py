"""Reading a partition of a topic to where it ends now, and writing records whose arrival must be certain."""

import time
from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.errors import TransientError

_POLL_SECONDS = 30.0
_BATCH = 5000
_BATCH_SECONDS = 0.1
"""``consume`` waits this long for a full batch, also at the end of the log."""
_RETRY_SECONDS = 0.1
_FULL_SECONDS = 1.0
_FLUSH_SECONDS = 120.0
_LEADER_SECONDS = 30.0
"""How long the partitions of a new topic may take to get a leader."""
_TOPIC_SECONDS = 5.0
"""How long all threads of a broker may take to hear of a new topic; one that nobody created costs as much."""
_PATIENCE_SECONDS = {
    KafkaError.NOT_LEADER_FOR_PARTITION: _LEADER_SECONDS,
    KafkaError.LEADER_NOT_AVAILABLE: _LEADER_SECONDS,
    KafkaError.UNKNOWN_LEADER_EPOCH: _LEADER_SECONDS,
    KafkaError._NOENT: _LEADER_SECONDS,  # noqa: SLF001  the admin client's "no leaders found"
    KafkaError.UNKNOWN_TOPIC_OR_PART: _TOPIC_SECONDS,
    KafkaError._UNKNOWN_TOPIC: _TOPIC_SECONDS,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: _TOPIC_SECONDS,  # noqa: SLF001
}


class LogReadError(TransientError):
    """A partition could not be read to its end."""

    def __init__(self, topic: str, partition: int, problem: str) -> None:
        self.topic = topic
        self.partition = partition
        super().__init__(f"{topic} partition {partition} could not be read to its end: {problem}; try again")


def read_partition(bootstrap: str, topic: str, partition: int) -> Iterator[Message]:
    """Yield every record of a partition that the broker holds now, in offset order.

    Raises:
        LogReadError: the broker did not give all of them in time.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "parityflow.reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        place = TopicPartition(topic, partition)
        start, end = _bounds(consumer, place)
        if start >= end:
            return
        consumer.assign([TopicPartition(topic, partition, start)])
        heard = time.monotonic()
        while True:
            messages = consumer.consume(_BATCH, _BATCH_SECONDS)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _POLL_SECONDS:
                raise LogReadError(topic, partition, f"no answer within {_POLL_SECONDS:.0f} seconds")
            for message in messages:
                error = message.error()
                if error is None:
                    yield message
                    if message.offset() >= end - 1:
                        return
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  the client's public name for it
                    return
                else:
                    raise LogReadError(topic, partition, error.str())
    finally:
        consumer.close()


def may_be_new(error: KafkaException, since: float) -> bool:
    """Say whether a topic may only be too new to answer, when it has been asked since a monotonic time.

    ``KafkaError.retriable`` does not say it: librdkafka sets it for transactions only.
    """
    return time.monotonic() < since + _PATIENCE_SECONDS.get(error.args[0].code(), 0.0)


def _bounds(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    """Return where the partition begins and ends; a new topic is unknown to some broker threads for a moment."""
    begun = time.monotonic()
    while True:
        try:
            start, end = consumer.get_watermark_offsets(place, timeout=_POLL_SECONDS)
        except KafkaException as error:
            if not may_be_new(error, begun):
                raise LogReadError(place.topic, place.partition, error.args[0].str()) from None
            time.sleep(_RETRY_SECONDS)
        else:
            return start, end


def plain_producer(bootstrap: str) -> Producer:
    """Return an idempotent producer for a few records."""
    return Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0})


class LogWriteError(TransientError):
    """Records that were to be written are not all in the log."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the broker has not taken every record ({problem}); nothing was announced, try again")


class LogWriter:
    """Writes records whose arrival must be certain before the next thing is done."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = plain_producer(bootstrap)
        self._failure: str | None = None

    def write(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Hand one record over, waiting while too many are on their way."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._delivered, headers=list(headers))
            except BufferError:
                self._producer.poll(_FULL_SECONDS)
            else:
                self._producer.poll(0)
                return

    def finish(self) -> None:
        """Return when the broker has every record.

        Raises:
            LogWriteError: it has not, or refused one.
        """
        left = self._producer.flush(_FLUSH_SECONDS)
        if self._failure is not None or left:
            raise LogWriteError(self._failure or f"{left} unacknowledged after {_FLUSH_SECONDS:.0f} s")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error.str()
