"""The independent recount: every count again, from the archived input alone, over the whole history at once.

``parityflow reconcile`` and the fault tests compare the agents with it. It shares no code with them beyond
the wire format: no state is kept up to date here, nothing is added and taken back. Each partition is read
once in log order to decide which records count (``recount_log``); then each application is worked out once
from all that is known of it (``recount_rules``).
"""

import datetime as dt
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.codec import Codec
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.reconcile.recount_log import ArchivedInput, InputRecord, Reading, RejectedInput
from pipeline.reconcile.recount_rules import Counted
from pipeline.topics import partition_of

__all__ = [
    "ArchivedInput",
    "Cell",
    "Counted",
    "InputRecord",
    "Recount",
    "RejectedInput",
    "recount",
    "recount_as_of",
]

_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()


class Cell(NamedTuple):
    """One count: people of an organisation on a day, everybody once (None, None), then by group."""

    organisation: str
    day: int
    kind: str
    name: str
    outcome: str
    characteristic: str | None
    group: str | None


@dataclass(frozen=True, slots=True)
class Recount:
    """All counts that follow from an input log.

    Attributes:
        cells: Count of every cell that is not zero.
        rejected: The dead letters in log order.
        ignored: Records that were read and change nothing by rule, by kind (``erased``).
        contributions: What each application adds, by (organisation, root id), to explain a difference.
        ends: Last offset seen of each partition.
        last_offsets: Offset of the last record of each organisation that can have changed a count.
    """

    cells: dict[Cell, int]
    rejected: tuple[RejectedInput, ...]
    ignored: dict[str, int]
    contributions: dict[tuple[str, str], tuple[Counted, ...]]
    ends: dict[int, int]
    last_offsets: dict[str, int]

    @property
    def dead_letters(self) -> dict[str, int]:
        """Number of dead letters by reason."""
        return dict(Counter(one.reason for one in self.rejected))


def recount(
    inputs: Iterable[InputRecord],
    codec: Codec,
    *,
    partitions: int,
    timezone: str,
    keep_contributions: bool = True,
) -> Recount:
    """Count everything again.

    Args:
        inputs: The archived input log from its beginning, each partition in the order of its offsets.
        codec: Reads the values.
        partitions: Partitions of the input topic.
        timezone: Zone whose local days are counted, such as ``Europe/London``.
        keep_contributions: Whether to return what each application adds; half a gigabyte for half a million.

    Returns:
        The counts, the dead letters and, if kept, what each application contributes.

    Raises:
        ArchiveOrderError: A record comes twice or before an earlier one of its partition.
    """
    day_of = _local_days(timezone)
    readings: dict[int, Reading] = {}
    for one in inputs:
        if one.partition not in readings:
            readings[one.partition] = Reading(one.partition, partitions, codec, day_of)
        readings[one.partition].take(one)
    cells: Counter[Cell] = Counter()
    contributions: dict[tuple[str, str], tuple[Counted, ...]] = {}
    ignored: Counter[str] = Counter()
    for reading in readings.values():
        ignored += reading.ignored
        for name in reading.organisations:
            for root, counted in _counted(reading, name):
                _add(cells, name, counted)
                if keep_contributions:
                    contributions[name, root] = (*contributions.get((name, root), ()), *counted)
    return Recount(
        cells=dict(cells),
        rejected=tuple(sorted(one for reading in readings.values() for one in reading.rejected)),
        ignored=dict(ignored),
        contributions=contributions,
        ends={partition: reading.last_offset for partition, reading in readings.items()},
        last_offsets={
            name: organisation.last_offset
            for reading in readings.values()
            for name, organisation in reading.organisations.items()
        },
    )


def recount_as_of(
    inputs: Iterable[InputRecord],
    codec: Codec,
    cuts: Collection[tuple[str, int]],
    *,
    partitions: int,
    timezone: str,
) -> dict[tuple[str, int], dict[Cell, int]]:
    """Count single organisations again as they stood after an earlier record of their partition.

    Args:
        inputs: The archived input log, as for ``recount``.
        codec: Reads the values.
        cuts: Which organisations, and after which offset.
        partitions: Partitions of the input topic.
        timezone: Zone whose local days are counted.

    Returns:
        The cells of each organisation at its offset.
    """
    day_of = _local_days(timezone)
    readings: dict[tuple[str, int], Reading] = {}
    by_partition: dict[int, list[tuple[bytes, int, Reading]]] = {}
    for organisation, offset in cuts:
        key = organisation.encode()
        partition = partition_of(key, partitions)
        reading = readings[organisation, offset] = Reading(partition, partitions, codec, day_of)
        by_partition.setdefault(partition, []).append((key, offset, reading))
    for one in inputs:
        for key, offset, reading in by_partition.get(one.partition, ()):
            if one.offset <= offset and one.key in (None, key):
                reading.take(one)
    found: dict[tuple[str, int], dict[Cell, int]] = {}
    for cut, reading in readings.items():
        cells: Counter[Cell] = Counter()
        for _, counted in _counted(reading, cut[0]):
            _add(cells, cut[0], counted)
        found[cut] = dict(cells)
    return found


def _counted(reading: Reading, name: str) -> Iterator[tuple[str, list[Counted]]]:
    """Yield (root, what it adds) of each application, those that left before included."""
    organisation = reading.organisations.get(name)
    if organisation is not None:
        yield from organisation.departed
        yield from organisation.count(organisation.clusters(), reading.day_of)


def _local_days(timezone: str) -> Callable[[int], int]:
    zone = ZoneInfo(timezone)

    @functools.lru_cache(maxsize=1 << 16)
    def day_of_minute(minute: int) -> int:
        return dt.datetime.fromtimestamp(minute * 60, zone).toordinal() - _EPOCH_ORDINAL

    # No zone in use has changed its offset within a minute since 1972, and days before are not accepted.
    return lambda ms: day_of_minute(ms // 60_000)


def _add(cells: Counter[Cell], organisation: str, counted: Iterable[Counted]) -> None:
    for one in counted:
        place = (organisation, one.day, one.kind, one.name, one.outcome)
        cells[Cell(*place, None, None)] += 1
        for characteristic, group in zip(CHARACTERISTICS, one.groups, strict=True):
            cells[Cell(*place, characteristic, group)] += 1
