"""The store keeps of each key the value with the highest position, whatever the order in which the log holds them."""

from types import SimpleNamespace

import pytest
from faust.types.tuples import TP

from agents.store import ChangelogForeignError, PartitionedStore
from pipeline.counting.epochs import POSITION_HEADER, position_bytes
from pipeline.domain.state import PARTITION, PartitionState


def position(offset, steps=0):
    return position_bytes(PartitionState(1, "id", 4, 1, offset, steps, 0, 0))


def record(offset, key, value, applied, steps=0):
    return SimpleNamespace(offset=offset, key=key, value=value, headers=[(POSITION_HEADER, position(applied, steps))])


def loaded(*records):
    store = PartitionedStore("partitioned://", None, SimpleNamespace(name="state"))
    message = SimpleNamespace(partition=2, value=list(records), offset=records[-1].offset)
    store.apply_changelog_batch([SimpleNamespace(message=message)], None, None)
    return store


async def finished(store):
    await store.on_recovery_completed({TP("changelog", 2)}, set())
    return store


def test_position_sorts_by_offset_then_steps_and_before_the_first_record():
    ordered = [position(-1), position(0), position(0, 1), position(1), position(2**40)]
    assert ordered == sorted(ordered)


async def test_last_value_of_a_key_is_loaded_and_a_deletion_removes_it():
    store = await finished(
        loaded(record(0, b"a", b"1", 0), record(1, b"b", b"1", 0), record(2, b"a", b"2", 5), record(3, b"b", None, 5))
    )
    assert dict(store.items(2)) == {b"a": b"2"}
    assert store.end(2) == 4


async def test_stale_batch_behind_a_newer_one_changes_nothing_and_is_written_over():
    store = await finished(loaded(record(0, b"a", b"new", 9), record(1, b"a", b"stale", 4), record(2, b"b", b"x", 4)))
    assert dict(store.items(2)) == {b"a": b"new", b"b": b"x"}
    assert store.stale_changes(2) == [(b"a", b"new")]
    store.written(2, [(b"a", b"new")], 4)
    assert store.stale_changes(2) == []


async def test_stale_batch_that_was_written_over_already_is_not_written_over_again():
    store = await finished(loaded(record(0, b"a", b"new", 9), record(1, b"a", b"stale", 4), record(2, b"a", b"new", 9)))
    assert store.value(2, b"a") == b"new"
    assert store.stale_changes(2) == []


async def test_stale_batch_does_not_bring_back_a_deleted_key():
    store = await finished(loaded(record(0, b"a", None, 9), record(1, b"a", b"stale", 4)))
    assert list(store.items(2)) == []
    assert store.stale_changes(2) == [(b"a", None)]


def test_loading_error_is_kept_for_the_worker_because_faust_only_logs_it():
    foreign = SimpleNamespace(offset=7, key=b"a", value=b"1", headers=[])
    with pytest.raises(ChangelogForeignError):
        loaded(foreign)
    store = PartitionedStore("partitioned://", None, SimpleNamespace(name="state"))
    message = SimpleNamespace(partition=2, value=[foreign], offset=7)
    with pytest.raises(ChangelogForeignError):
        store.apply_changelog_batch([SimpleNamespace(message=message)], None, None)
    with pytest.raises(ChangelogForeignError, match="offset 7"):
        store.partition_state(2)


async def test_every_assignment_starts_from_nothing_and_reads_the_whole_log():
    store = loaded(record(0, PARTITION, b"1", 0))
    await store.on_rebalance({TP("changelog", 2)}, set(), set())
    assert store.partition_state(2) is None
    assert store.persisted_offset(TP("changelog", 2)) == -1


def test_state_cannot_be_changed_through_fausts_table():
    store = loaded(record(0, b"a", b"1", 0))
    with pytest.raises(TypeError):
        store[b"a"] = b"2"
    with pytest.raises(TypeError):
        del store[b"a"]
    assert list(store) == []
