"""Counts do not depend on the order in which records arrive, nor on how often."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.records import DeadLetter
from tests.memory_partition import MemoryPartition, raw_inputs
from tests.strategies import APPEND_MS, histories


def cells_after(history):
    partition = MemoryPartition()
    partition.feed(raw_inputs(history, APPEND_MS))
    assert not partition.sent(DeadLetter), "every record counts: a fold that fails would hide the difference"
    return partition.state_cells()


@given(histories(), st.data())
def test_any_order_and_any_repetition_give_the_same_counts(history, data):
    repeated = [*history, *data.draw(st.lists(st.sampled_from(history), max_size=5))]
    assert cells_after(data.draw(st.permutations(repeated))) == cells_after(history)
