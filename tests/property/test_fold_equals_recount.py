"""The incremental fold and the independent recount agree on every cell, however the log is cut, repeated or killed."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.records import DeadLetter
from pipeline.reconcile.recount import ArchivedInput, recount
from tests.memory_partition import CODEC, MemoryPartition, raw_inputs
from tests.strategies import APPEND_MS, histories

cuts = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from(["fold", "step by step", "restart", "lose the state"])), max_size=12
)


def recounted(inputs):
    archived = [ArchivedInput(0, item.offset, item.appended_at, item.key, item.value) for item in inputs]
    return recount(archived, CODEC, partitions=1, timezone="Europe/London")


@given(histories(), cuts)
def test_fold_equals_recount_under_any_chunking_with_restarts_and_lost_state(history, cuts):
    inputs = raw_inputs(history, APPEND_MS)
    partition = MemoryPartition()
    start = 0
    for size, how in [*cuts, (len(inputs), "fold")]:
        part = inputs[start : start + size]
        if not part:
            break
        if how == "restart":
            partition.restart()
        elif how == "lose the state":
            partition.fold_and_lose(part)
            part = part[: (size + 1) // 2]  # the next worker cuts the log elsewhere
        partition.feed(part, max_steps=1 if how == "step by step" else None)
        start += len(part)
    expected = recounted(inputs)
    cells = {tuple(cell): count for cell, count in expected.cells.items()}
    assert {letter.offset for letter in partition.sent(DeadLetter)} == {letter.offset for letter in expected.rejected}
    assert partition.transition_cells() == cells
    assert partition.state_cells() == cells
