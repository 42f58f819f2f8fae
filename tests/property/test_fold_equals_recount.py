"""The incremental fold and the independent recount agree on every cell, however the log is cut, repeated or killed."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.recount import ArchivedInput, recount
from tests.memory_partition import CODEC, MemoryPartition, raw_inputs
from tests.strategies import APPEND_MS, histories


def recounted(inputs):
    archived = [ArchivedInput(0, item.offset, item.appended_at, item.key, item.value) for item in inputs]
    return recount(archived, CODEC, partitions=1, timezone="Europe/London")


@given(histories(), st.data())
def test_fold_equals_recount_under_any_chunking_with_restarts_and_lost_state(history, data):
    inputs = raw_inputs(history, APPEND_MS)
    partition = MemoryPartition()
    start = 0
    while start < len(inputs):
        size = data.draw(st.integers(1, len(inputs)))
        part = inputs[start : start + size]
        event = data.draw(st.sampled_from(["fold", "steps", "restart", "lose"]))
        if event == "restart":
            partition.restart()
        elif event == "lose":
            partition.fold_and_lose(part)
            continue_with = data.draw(st.integers(1, len(part)))
            part = part[:continue_with]
        partition.feed(part, max_steps=1 if event == "steps" else None)
        start += len(part)
    expected = recounted(inputs)
    cells = {tuple(cell): count for cell, count in expected.cells.items()}
    assert partition.transition_cells() == cells
    assert partition.state_cells() == cells
