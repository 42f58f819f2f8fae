"""The chunk commit: one closed batch, and a stop when another writer came between."""

from types import SimpleNamespace

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.chunk import ChunkCommitter, StateLogMovedError
from agents.store import PartitionedStore
from pipeline.counting.folding import OutputMessage
from pipeline.domain.state import PartitionState

STATE = PartitionState(1, "id", 4, 1, 41, 0, 0, 0)


class Broker:
    """Takes batches as the producer would; ``end`` is where the next one lands."""

    def __init__(self, end):
        self.end, self.outputs, self.batches = end, [], []

    def create_batch(self):
        return BatchBuilder(2_000, 0)

    async def send(self, topic, value, key, partition, headers):
        self.outputs.append((topic, key, value, partition, headers))
        return self._acknowledged(0)

    async def send_batch(self, builder, topic, *, partition):
        self.batches.append((topic, partition, builder.record_count()))
        return self._acknowledged(self.end)

    async def _acknowledged(self, offset):
        return SimpleNamespace(offset=offset)


@pytest.fixture
def store():
    made = PartitionedStore("partitioned://", None, SimpleNamespace(name="state"))
    made.written(3, [(b"old", b"1")], end=10)
    return made


def committer(store, broker):
    made = ChunkCommitter("unused", "changelog", store)
    made._started = broker
    return made


async def test_all_changes_of_a_chunk_are_one_batch_and_reach_the_store_after_it(store):
    broker = Broker(end=10)
    writes = committer(store, broker)
    batch = await writes.build(3, [(b"a", b"1"), (b"old", None), (b"p", b"state")], STATE)
    assert store.value(3, b"a") is None
    await writes.commit(batch)
    assert broker.batches == [("changelog", 3, 3)]
    assert dict(store.items(3)) == {b"a": b"1", b"p": b"state"}
    assert store.end(3) == 13


async def test_batch_that_lands_elsewhere_stops_the_worker_and_leaves_the_store(store):
    writes = committer(store, Broker(end=12))
    batch = await writes.build(3, [(b"a", b"1")], STATE)
    with pytest.raises(StateLogMovedError, match="appended at 12, expected 10"):
        await writes.commit(batch)
    assert store.value(3, b"a") is None


async def test_changes_beyond_one_batch_are_refused_before_anything_is_sent(store):
    broker = Broker(end=10)
    assert await committer(store, broker).build(3, [(b"a", bytes(3_000))] * 2, STATE) is None
    assert (broker.outputs, broker.batches) == ([], [])


async def test_outputs_go_to_the_partition_of_their_input(store):
    broker = Broker(end=10)
    await committer(store, broker).send_outputs(3, [OutputMessage("t", b"k", b"v", [("h", b"1")])])
    assert broker.outputs == [("t", b"k", b"v", 3, [("h", b"1")])]
