"""The agents' outputs as a reader takes them, and the comparison of a finished run with the recount of its input."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.rig import PARTITIONS, BenchmarkFailedError
from benchmarks.year import state_cells
from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.counting.epochs import FIRST_EPOCH
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import Transition, TransitionBatch
from pipeline.kafka_log import read_partition
from pipeline.reconcile.recount import ArchivedInput, Cell, recount
from pipeline.reconcile.state_log import read_state
from pipeline.topics import EVENTS, TRANSITIONS

Position = tuple[int, int]


def transitions(bootstrap: str) -> Iterator[Transition]:
    """Yield every transition once.

    Raises:
        BenchmarkFailedError: outputs are missing.
    """
    codec = Codec(LocalResolver.load())
    for partition in range(PARTITIONS):
        last: Position = (-1, 2**31 - 1)
        for message in read_partition(bootstrap, TRANSITIONS, partition):
            decoded = codec.decode(message.value())
            if not isinstance(decoded, Decoded) or not isinstance(decoded.record, TransitionBatch):
                raise BenchmarkFailedError(f"partition {partition}: something else than a batch of transitions")
            batch = decoded.record
            if (batch.from_offset, batch.from_index) > last:
                raise BenchmarkFailedError(f"partition {partition}: outputs are missing after {last}")
            yield from (item for item in batch.transitions if (item.offset, item.index) > last)
            last = max(last, (batch.to_offset, batch.to_index))


class Compared(NamedTuple):
    """What a finished run was compared with, and how many contributions its transitions hold."""

    cells: dict[Cell, int]
    contributions: int


def compare_with_recount(bootstrap: str) -> Compared:
    """Compare state and transitions with the recount of the input log as the broker holds it.

    Raises:
        BenchmarkFailedError: a cell differs.
    """
    codec = Codec(LocalResolver.load())
    archived = (
        ArchivedInput(partition, item.offset(), item.timestamp()[1], item.key(), item.value())
        for partition in range(PARTITIONS)
        for item in read_partition(bootstrap, EVENTS, partition)
    )
    expected = recount(archived, codec, partitions=PARTITIONS, timezone="Europe/London", keep_contributions=False).cells
    states = [read_state(bootstrap, FIRST_EPOCH, partition) for partition in range(PARTITIONS)]
    if state_cells(codec, states) != expected:
        raise BenchmarkFailedError("the counts in the state are not the recount's")
    said: Counter[Cell] = Counter()
    contributions = 0
    for item in transitions(bootstrap):
        contributions += len(item.contributions)
        for one in item.contributions:
            place = (item.organisation, one.day, one.kind, one.name, one.outcome)
            said[Cell(*place, None, None)] += item.sign
            for characteristic, group in zip(CHARACTERISTICS, item.groups, strict=True):
                said[Cell(*place, characteristic, group)] += item.sign
    if {cell: count for cell, count in said.items() if count} != expected:
        raise BenchmarkFailedError("the sum of the transitions is not the recount")
    return Compared(expected, contributions)
