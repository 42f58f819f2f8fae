"""What the consumer hands out: consecutive records, none before the expected one, none after a hole."""

from collections import defaultdict, deque
from types import SimpleNamespace

import pytest
from faust.types.tuples import TP

from agents.transport import ChunkConsumer, ChunkPlan, InputTruncatedError

INPUT, OTHER = TP("input", 1), TP("changelog", 1)


def records(*offsets):
    return [SimpleNamespace(offset=offset) for offset in offsets]


class Consumer(ChunkConsumer):
    """Our consumer without Faust's start: no broker, no threads."""

    def __init__(self, expected, earliest=0):
        self.plan = ChunkPlan("input", "changelog", lambda _: expected)
        self.counters = defaultdict(int)
        self._delivered, self._expected = defaultdict(deque), {INPUT: expected}
        self._confirmed_gap, self._sought, self._read_offset = {}, {}, {}
        self._acked, self._acked_index = defaultdict(list), defaultdict(set)
        self.sought, self.earliest, self.errors = [], earliest, []
        self.app = SimpleNamespace(crash=self._crash)

    async def _crash(self, error):
        self.errors.append(error)

    async def _seek(self, tp, offset):
        self.sought.append((tp, offset))

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
