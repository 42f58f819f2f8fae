"""The output topics as a reader takes them, and comparison with the oracle: equal, not close."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.codec import Decoded
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import DeadLetter, Transition, TransitionBatch
from pipeline.kafka_log import read_partition
from pipeline.reconcile.recount import Cell
from pipeline.topics import DEAD_LETTERS, EVENTS, TRANSITIONS
from tests.fault.streams import CODEC, PARTITIONS


@dataclass(slots=True)
class Outputs:
    """The output topics as a reader takes them.

    Attributes:
        cells: Net counts of the transitions, each position taken once.
        repeated: Outputs that were sent more than once (by position).
        sent: Transitions in the raw topic.
        ends: Offset per partition up to which outputs cover the input.
        dead_letters: Reason by (partition, offset).
        dead_letters_sent: Dead letters in the raw topic.
        batches: Transitions per batch in the raw topic.
    """

    cells: dict[Cell, int]
    repeated: int
    sent: int
    ends: dict[int, int]
    dead_letters: dict[tuple[int, int], str]
    dead_letters_sent: int
    batches: int


def read_outputs(bootstrap: str, epoch: int) -> Outputs:
    """Read the output topics to their ends as a reader does: filter by position, nothing may be missing."""
    found = Outputs({}, 0, 0, {}, {}, 0, 0)
    cells: Counter[Cell] = Counter()
    for partition in range(PARTITIONS):
        _read_transitions(bootstrap, epoch, partition, found, cells)
        _read_dead_letters(bootstrap, partition, found)
    found.cells = {cell: count for cell, count in cells.items() if count}
    return found


def assert_same(what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    """Compare two dictionaries and show a few differences instead of all of both."""
    if found == expected:
        return
    wrong = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    shown = "\n".join(f"{key}: found {found.get(key)}, expected {expected.get(key)}" for key in wrong[:10])
    raise AssertionError(f"{what}: {len(wrong)} of {len(expected)} differ\n{shown}")


def _read_transitions(bootstrap: str, epoch: int, partition: int, found: Outputs, cells: Counter[Cell]) -> None:
    last: tuple[int, int] | None = None
    seen: dict[tuple[int, int], Transition] = {}
    for message in read_partition(bootstrap, TRANSITIONS, partition):
        decoded = CODEC.decode(message.value())
        assert isinstance(decoded, Decoded)
        batch = decoded.record
        assert isinstance(batch, TransitionBatch)
        if batch.epoch != epoch:
            continue
        found.batches += 1
        found.sent += len(batch.transitions)
        start, end = (batch.from_offset, batch.from_index), (batch.to_offset, batch.to_index)
        assert last is None or start <= last, f"partition {partition}: outputs are missing before {start}"
        for item in batch.transitions:
            position = item.offset, item.index
            if position in seen:
                assert seen[position] == item, f"partition {partition}: two outputs at {position}"
                found.repeated += 1
            elif last is None or position > last:
                seen[position] = item
                _add(cells, item)
        last = end if last is None else max(last, end)
    found.ends[partition] = -1 if last is None else last[0]


def _read_dead_letters(bootstrap: str, partition: int, found: Outputs) -> None:
    for message in read_partition(bootstrap, DEAD_LETTERS, partition):
        decoded = CODEC.decode(message.value())
        assert isinstance(decoded, Decoded)
        letter = decoded.record
        assert isinstance(letter, DeadLetter)
        assert letter.topic == EVENTS
        found.dead_letters_sent += 1
        known = found.dead_letters.setdefault((letter.partition, letter.offset), letter.reason)
        assert known == letter.reason


def _add(cells: Counter[Cell], item: Transition) -> None:
    for one in item.contributions:
        place = item.organisation, one.day, one.kind, one.name, one.outcome
        cells[Cell(*place, None, None)] += item.sign
        for characteristic, group in zip(CHARACTERISTICS, item.groups, strict=True):
            cells[Cell(*place, characteristic, group)] += item.sign
