"""Going on live: simulated days squeezed into minutes, without any event in the future.

The stories go on after the backfill at a steady number of records a second. Record after record ties a
simulated moment to a real one; event times in between are interpolated, so that order and repeats are kept
exactly.
"""

from bisect import bisect_left
from typing import Final

from pipeline.domain.records import Control, VacancyEqualityTable, VacancyEvent
from pipeline.intake.ndjson import Canonical
from pipeline.simulation.plan import DAY_MS

MAX_KNOTS: Final = 100_000
"""Ties that are kept: records may be three simulated days late, which are a few thousand records."""


class SqueezedTime:
    """Maps simulated moments after ``start`` to real ones; moments before stay what they are."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._simulated = [start]
        self._real = [start]

    def tie(self, simulated: int, real: int) -> None:
        """Say that a simulated moment is a real one; both must not go back."""
        if simulated == self._simulated[-1]:
            return
        self._simulated.append(simulated)
        self._real.append(real)
        if len(self._simulated) > MAX_KNOTS:
            del self._simulated[: MAX_KNOTS // 2], self._real[: MAX_KNOTS // 2]

    def real(self, simulated: int) -> int:
        """Return the real moment of a simulated one that is not after the last tie.

        Example:
            >>> time = SqueezedTime(1000)
            >>> time.tie(3000, 1100)
            >>> time.real(500), time.real(2000), time.real(3000)
            (500, 1050, 1100)
        """
        if simulated <= self._start:
            return simulated
        right = bisect_left(self._simulated, simulated)
        if right == 0:
            return self._real[0]
        if right == len(self._simulated):
            return self._real[-1]
        low, high = self._simulated[right - 1], self._simulated[right]
        first, last = self._real[right - 1], self._real[right]
        return first + (last - first) * (simulated - low) // (high - low)

    def squeeze(self, record: Canonical) -> Canonical:
        """Return the record with real times; an advert that opens now closes today."""
        if isinstance(record, Control | VacancyEqualityTable) or record.event_time <= self._start:
            return record
        moment = self.real(record.event_time)
        seen = moment if record.observed_time is None else max(moment, self.real(record.observed_time))
        if isinstance(record, VacancyEvent):
            closing = None if record.closing_date is None else moment // DAY_MS
            return record._replace(event_time=moment, observed_time=seen, closing_date=closing)
        return record._replace(event_time=moment, observed_time=seen)
