"""What the consumer hands out: consecutive records, none before the expected one, none after a hole."""

from collections import defaultdict, deque
from types import SimpleNamespace

import pytest
from faust.types.tuples import TP

from agents.transport import ChunkConsumer, ChunkPlan, InputTruncatedError

INPUT, OTHER = TP("input", 1), TP("changelog", 1)


def records(*offsets):
    return [SimpleNamespace(offset=offset, timestamp=0, timestamp_type=0) for offset in offsets]


class Consumer(ChunkConsumer):
    """Our consumer without Faust's start: no broker, no threads."""

    def __init__(self, expected, earliest=0):
        self.plan = ChunkPlan("input", "changelog", lambda _: expected)
        self.counters = defaultdict(int)
        self._delivered, self._expected = defaultdict(deque), {INPUT: expected}
        self._confirmed_gap, self._sought, self._read_offset, self._loading = {}, {}, {}, {}
        self._acked, self._acked_index = defaultdict(list), defaultdict(set)
        self.sought, self.earliest, self.errors = [], earliest, []
        self.app = SimpleNamespace(crash=self._crash, consumer_generation_id=1)
        self.fetched, self.rebalance, self.flow_active = {}, False, True
        self._buffered_partitions = set()

    async def _crash(self, error):
        self.errors.append(error)

    async def _seek(self, tp, offset):
        self.sought.append((tp, offset))

    should_stop = False

    def assignment(self):
        return {INPUT, OTHER}

    async def _wait_next_records(self, _timeout):
        self.app.consumer_generation_id += self.rebalance
        return self.fetched, None

    async def handed_out(self):
        return [(tp, message.offset) async for tp, message in self.getmany(1.0)]

    async def earliest_offsets(self, *tps):
        return dict.fromkeys(tps, self.earliest)

    async def offsets(self, *offsets):
        return [item.offset for item in await self._wanted(INPUT, records(*offsets))]


async def test_records_before_the_expected_offset_are_cut():
    assert await Consumer(5).offsets(3, 4, 5, 6) == [5, 6]
    assert await Consumer(5).offsets(3, 4) == []


async def test_nothing_is_handed_out_before_the_state_said_where_to_go_on():
    consumer = Consumer(5)
    consumer._expected.clear()
    assert await consumer.offsets(5) == []
    assert consumer.counters["unseeked"] == 1


async def test_hole_is_read_again_and_accepted_only_when_the_log_itself_has_it():
    consumer = Consumer(5)
    assert await consumer.offsets(8, 9) == []
    assert consumer.sought == [(INPUT, 5)]
    assert await consumer.offsets(8, 9) == [8, 9]
    assert consumer.is_gap_of_log(INPUT, 5, 8)


async def test_log_truncated_past_the_expected_offset_stops_the_worker():
    consumer = Consumer(5, earliest=8)
    await consumer.offsets(8)
    with pytest.raises(InputTruncatedError, match="rebuild"):
        await consumer.offsets(8)
    assert len(consumer.errors) == 1


def test_delivery_that_no_stream_took_is_handed_out_again():
    consumer = Consumer(5)
    consumer._delivered[INPUT].append(7)
    consumer._expected[INPUT] = 8
    consumer._take_back(INPUT, records(5, 6, 7))
    assert consumer._expected[INPUT] == 5
    assert not consumer._delivered[INPUT]


def test_only_the_acknowledged_prefix_is_committed():
    consumer = Consumer(0)
    consumer._delivered[INPUT].extend([9, 19, 29])
    consumer._acked_index[INPUT] = {9, 29}
    assert consumer._new_offset(INPUT) == 10
    assert consumer._new_offset(INPUT) is None
    consumer._acked_index[INPUT].add(19)
    assert consumer._new_offset(INPUT) == 30


async def test_redelivery_goes_back_in_the_log_and_forgets_acknowledgements():
    consumer = Consumer(9)
    consumer._acked[INPUT], consumer._acked_index[INPUT] = [8], {8}
    await consumer.redeliver(INPUT, 4)
    assert consumer.sought == [(INPUT, 4)]
    assert consumer._expected[INPUT] == 4
    assert INPUT not in consumer._acked


async def test_changelog_is_handed_out_and_its_place_remembered():
    consumer = Consumer(5)
    consumer._loading[OTHER], consumer.fetched = 0, {OTHER: records(0, 1, 2)}
    assert await consumer.handed_out() == [(OTHER, 2)]
    assert consumer._loading[OTHER] == 3


async def test_records_fetched_across_a_rebalance_are_read_again_and_the_state_is_not_asked():
    consumer = Consumer(5)
    consumer.plan = ChunkPlan("input", "changelog", lambda _: pytest.fail("recovery has not loaded the state yet"))
    consumer._loading[OTHER] = 0
    consumer.fetched, consumer.rebalance = {INPUT: records(5, 6), OTHER: records(0, 1, 2)}, True
    assert await consumer.handed_out() == []
    assert consumer.sought == [(INPUT, 5), (OTHER, 0)]


async def test_records_fetched_while_flow_stops_are_read_again():
    consumer = Consumer(5)
    consumer.fetched = {INPUT: records(5, 6)}

    async def stop(_timeout):
        consumer.flow_active = False
        return consumer.fetched, None

    consumer._wait_next_records = stop
    assert await consumer.handed_out() == []
    assert consumer.sought == [(INPUT, 5)]
    assert consumer._expected[INPUT] == 5
