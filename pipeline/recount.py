"""The independent recount: every count again, from the archived input alone, over the whole history at once.

``parityflow reconcile`` and the fault tests compare the agents with it. It shares no code with them beyond
the wire format: no state is kept up to date here, nothing is added and taken back. Each partition is read
once in log order to decide which records count (``recount_log``); then each application is worked out once
from all that is known of it (``recount_rules``).
"""

import datetime as dt
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.codec import Codec
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.recount_log import ArchivedInput, InputRecord, Reading, RejectedInput
from pipeline.recount_rules import Counted

__all__ = ["ArchivedInput", "Cell", "Counted", "InputRecord", "Recount", "RejectedInput", "recount"]

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
    """

    cells: dict[Cell, int]
    rejected: tuple[RejectedInput, ...]
    ignored: dict[str, int]
    contributions: dict[tuple[str, str], tuple[Counted, ...]]
    ends: dict[int, int]

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
        for name, organisation in reading.organisations.items():
            in_the_end = organisation.count(organisation.clusters(), day_of)
            for root, counted in itertools.chain(organisation.departed, in_the_end):
                _add(cells, name, counted)
                if keep_contributions:
                    contributions[name, root] = (*contributions.get((name, root), ()), *counted)
    return Recount(
        cells=dict(cells),
        rejected=tuple(sorted(one for reading in readings.values() for one in reading.rejected)),
        ignored=dict(ignored),
        contributions=contributions,
        ends={partition: reading.last_offset for partition, reading in readings.items()},
    )


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
