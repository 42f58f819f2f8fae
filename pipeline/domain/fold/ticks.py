"""The fold of the clock: windows are published, finished applications leave, old days retire."""

from collections.abc import Iterator

from pipeline.domain import counts
from pipeline.domain.counts import DAYS_KEPT, Cells, WindowSums
from pipeline.domain.fold.applications import ApplicationFold
from pipeline.domain.fold.ledger import APPLICATIONS_PER_STEP, KEPT_MS, Ledger
from pipeline.domain.records import StageCounts, Tick
from pipeline.domain.state import (
    PARTITION,
    Departure,
    OrganisationState,
    PartitionState,
    day_key,
    departure_key,
    organisation_key,
    split_key,
)

MINUTE_MS = 60_000


class TickFold:
    """Folds ticks."""

    def __init__(self, ledger: Ledger, applications: ApplicationFold) -> None:
        self._ledger = ledger
        self._applications = applications

    def tick(self, tick: Tick, appended_at: int, _done: int) -> Iterator[bool]:
        """Publish windows, let finished applications leave, retire old days; whatever was done already is skipped."""
        partition: PartitionState = self._ledger.overlay.get(PARTITION)
        if tick.minute <= partition.tick_minute:
            self._ledger.ignore("repeated")
            yield False
            return
        now = min(tick.minute * MINUTE_MS, appended_at)
        for organisation in sorted(self._ledger.index.organisations):
            state = self._ledger.organisation(organisation)
            today = self._ledger.days.day_of(state.watermark if state.loading else max(now, state.watermark))
            if state.changed or state.published_day != today:
                self._publish(organisation, today)
                state = state._replace(changed=False, published_day=today)
                state = state if state.loading else self._retire_days(organisation, state, today)
                self._ledger.overlay.put(organisation_key(organisation), state)
                yield True
        leaving = self._leaving(now - KEPT_MS)
        for start in range(0, len(leaving), APPLICATIONS_PER_STEP):
            for key in leaving[start : start + APPLICATIONS_PER_STEP]:
                self._ledger.overlay.put(key, None)
                self._ledger.overlay.put(departure_key(*split_key(key)), Departure("left"))
            yield True
        self._ledger.overlay.put(PARTITION, partition._replace(tick_minute=tick.minute))
        yield False

    def _publish(self, organisation: str, today: int) -> None:
        sums = self._window_sums(organisation, today + 1)
        for length, cells in sums.sums.items():
            self._ledger.add(
                StageCounts(
                    self._ledger.epoch,
                    organisation,
                    length,
                    today + 1 - length,
                    today + 1,
                    self._ledger.offset,
                    self._ledger.next_index,
                    counts.stage_counts(cells),
                )
            )

    def _window_sums(self, organisation: str, end_day: int) -> WindowSums:
        def cells_of(day: int) -> Cells:
            return self._ledger.overlay.get(day_key(organisation, day)) or {}

        sums = self._ledger.sums.get(organisation)
        if sums is None:
            sums = self._ledger.sums[organisation] = WindowSums(
                end_day, cells_of, self._ledger.index.days_of[organisation]
            )
        elif sums.end_day != end_day:
            sums.advance(end_day, cells_of)
        return sums

    def _retire_days(self, organisation: str, state: OrganisationState, today: int) -> OrganisationState:
        before = max(today - DAYS_KEPT, state.retired_before)
        for day in self._ledger.index.days_of[organisation]:
            if day < before:
                self._ledger.overlay.put(day_key(organisation, day), None)
        return state._replace(retired_before=before)

    def _leaving(self, cutoff_ms: int) -> list[bytes]:
        """Return the applications of live organisations whose every linked application had its last event before."""
        leaving = []
        for key in self._ledger.index.due_before(cutoff_ms):
            organisation, application_id = split_key(key)
            if self._ledger.organisation(organisation).loading:
                continue
            members = self._applications.members(organisation, application_id, self._ledger.overlay.get(key))
            if all(facts.last_event < cutoff_ms for facts in members.values()):
                leaving.append(key)
        return leaving
