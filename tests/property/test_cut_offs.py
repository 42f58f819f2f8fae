"""The fold and the independent recount agree at the cut-offs too: on late and future records, leaving and erasure."""

from typing import Any

from hypothesis import HealthCheck, given, settings

from pipeline.counting.inputs import RawInput
from pipeline.domain.records import DeadLetter, Tick
from pipeline.reconcile.recount import ArchivedInput, recount
from tests.memory_partition import CODEC, MemoryPartition
from tests.strategies import timelines


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(timelines())
def test_fold_and_recount_agree_on_what_is_too_late_and_what_has_left(timeline: list[tuple[Any, int]]) -> None:
    inputs = [
        RawInput(
            offset, append_ms, None if isinstance(record, Tick) else record.organisation.encode(), CODEC.encode(record)
        )
        for offset, (record, append_ms) in enumerate(timeline)
    ]
    partition = MemoryPartition()
    partition.feed(inputs)
    archived = [ArchivedInput(0, one.offset, one.appended_at, one.key, one.value) for one in inputs]
    expected = recount(archived, CODEC, partitions=1, timezone="Europe/London")
    dead_letters = [(letter.offset, letter.reason) for letter in partition.sent(DeadLetter)]
    assert dead_letters == [(one.offset, one.reason) for one in expected.rejected]
    assert partition.transition_cells() == {tuple(cell): people for cell, people in expected.cells.items()}
