"""The commit of a chunk: outputs first, then all state changes as one closed Kafka record batch.

1. Build the state batch, so that a chunk that must be cut has sent nothing.
2. Send the outputs and wait for all; after a failed send nothing more is sent.
3. Send the batch, which the broker appends whole or not at all, and look where it landed: anything but the end of our
   previous batch means that another writer came between, and this worker stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.store import PartitionedStore
from pipeline.counting.epochs import POSITION_HEADER, position_bytes
from pipeline.counting.folding import OutputMessage
from pipeline.crashpoints import CrashPoint, reach
from pipeline.domain.state import PartitionState
from pipeline.errors import TerminalError
from pipeline.topics import MAX_BATCH_BYTES

_REQUEST_TIMEOUT_MS = 60_000
_REQUEST_BYTES = 16 * 1024 * 1024
"""The batch has its own limit; the request around it may be larger."""


class StateLogMovedError(TerminalError):
    """The state batch did not land behind our previous one: another worker wrote in between."""

    def __init__(self, partition: int, expected: int, found: int) -> None:
        self.partition = partition
        super().__init__(
            f"state log of partition {partition}: our batch was appended at {found}, expected {expected}. Another "
            "worker has written meanwhile; this one stops and will load the state anew"
        )


@dataclass(frozen=True, slots=True)
class StateBatch:
    """A closed batch, its changes, and the partition it is for."""

    partition: int
    builder: Any
    changes: Sequence[tuple[bytes, bytes | None]]


class ChunkCommitter:
    """Writes what the fold made of a chunk; one a worker."""

    def __init__(self, bootstrap: str, changelog: str, store: PartitionedStore) -> None:
        self._bootstrap = bootstrap
        self._changelog = changelog
        self._store = store
        self._started: AIOKafkaProducer | None = None

    async def producer(self) -> AIOKafkaProducer:
        """Return the worker's own producer, started at its first use."""
        if self._started is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                max_batch_size=MAX_BATCH_BYTES,
                max_request_size=_REQUEST_BYTES,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
            )
            await producer.start()
            self._started = producer
        return self._started

    async def stop(self) -> None:
        """Close the producer."""
        if self._started is not None:
            await self._started.stop()

    async def build(
        self, partition: int, changes: Sequence[tuple[bytes, bytes | None]], state: PartitionState
    ) -> StateBatch | None:
        """Return the chunk's changes as a closed batch, or None when they do not fit into one."""
        producer = await self.producer()
        builder = producer.create_batch()
        headers = [(POSITION_HEADER, position_bytes(state))]
        for key, value in changes:
            if builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
                return None
        builder.close()
        return StateBatch(partition, builder, changes)

    async def send_outputs(self, partition: int, outputs: Sequence[OutputMessage]) -> None:
        """Send outputs to the partition of the same number and wait until the broker has all of them."""
        reach(CrashPoint.BEFORE_OUTPUTS)
        producer = await self.producer()
        sent = [
            await producer.send(
                output.topic, output.value, key=output.key, partition=partition, headers=list(output.headers)
            )
            for output in outputs
        ]
        for acknowledged in sent:
            await acknowledged
        reach(CrashPoint.AFTER_OUTPUTS)

    async def commit(self, batch: StateBatch) -> None:
        """Append the state batch and take it over into the store.

        Raises:
            StateLogMovedError: another writer's batch came between.
        """
        producer = await self.producer()
        appended = await (await producer.send_batch(batch.builder, self._changelog, partition=batch.partition))
        expected = self._store.end(batch.partition)
        if appended.offset != expected:
            raise StateLogMovedError(batch.partition, expected, appended.offset)
        reach(CrashPoint.AFTER_STATE_BATCH)
        self._store.written(batch.partition, batch.changes, appended.offset + len(batch.changes))
