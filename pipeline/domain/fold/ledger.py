"""What every part of the fold writes to: clocks of organisations, transitions, day counts, and the outputs in order."""

from dataclasses import dataclass

from pipeline.domain import counts
from pipeline.domain.clusters import Counted, Labels
from pipeline.domain.counts import DAYS_KEPT, Cells, WindowSums
from pipeline.domain.funnel_index import FunnelIndex
from pipeline.domain.overlay import Overlay
from pipeline.domain.records import Contribution, Ignored, StageCounts, Transition, new
from pipeline.domain.rejects import RejectReason
from pipeline.domain.state import OrganisationState, day_key, organisation_key
from pipeline.domain.windows import LocalDays

DAY_MS = 86_400_000
FUTURE_TOLERANCE_MS = DAY_MS
"""Clocks and time zones of sources differ by less than a day; what is later than that is a wrong date."""
KEPT_MS = DAYS_KEPT * DAY_MS

ONE_STEP = (False,)
"""The steps of a record whose effect is done at once: one, and no more follow."""

APPLICATIONS_PER_STEP = 100
"""An application and the days it counts on are some five keys: a step stays within 500."""

NO_ORGANISATION = OrganisationState(
    loading=False,
    watermark=0,
    changed=False,
    published_day=0,
    retired_before=-(2**31),
    failures=0,
    content={},
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that was not counted, and why."""

    offset: int
    index: int
    reason: RejectReason
    detail: str


Output = Transition | StageCounts | Rejection | Ignored


class Ledger:
    """State and outputs of one partition while its records are folded."""

    def __init__(
        self, overlay: Overlay, index: FunnelIndex, sums: dict[str, WindowSums], days: LocalDays, epoch: int
    ) -> None:
        self.overlay = overlay
        self.index = index
        self.sums = sums
        self.days = days
        self.epoch = epoch
        self.outputs: list[Output] = []
        self.offset = 0
        self.next_index = 0
        self._changes: list[tuple[str, int, tuple[str, ...], list[Contribution]]] = []

    def begin(self, offset: int, next_index: int) -> None:
        """Start a record, or go on inside it: its next output gets this index."""
        self.offset, self.next_index = offset, next_index

    def drop_step(self, outputs: int, next_index: int) -> None:
        """Forget what the running step said and changed; ``outputs`` were there before it."""
        del self.outputs[outputs:]
        self.next_index = next_index
        self._changes = []
        self.overlay.drop_step()

    # -- clocks ------------------------------------------------------------------------------------------------------

    def is_time_countable(self, organisation: str, event_time: int, appended_at: int) -> bool:
        """Say whether a record of this time may be counted; if not, reject it with the reason."""
        state = self.organisation(organisation)
        reference = state.watermark if state.loading else appended_at
        if event_time < DAY_MS:
            self.reject(
                RejectReason.IMPLAUSIBLE_EVENT_TIME,
                "the event time is on 1970-01-01 or before: a missing date?",
            )
        elif event_time > appended_at + FUTURE_TOLERANCE_MS:
            self.reject(
                RejectReason.FUTURE_EVENT_TIME,
                "the event time is more than a day after the broker's append time",
            )
        elif event_time < reference - KEPT_MS:
            self.reject(RejectReason.TOO_LATE, "the event time is more than 400 days before the organisation's clock")
        else:
            return True
        return False

    def organisation(self, organisation: str) -> OrganisationState:
        """Return clock and marks of an organisation."""
        return self.overlay.get(organisation_key(organisation)) or NO_ORGANISATION

    def put_organisation(self, organisation: str, state: OrganisationState) -> None:
        """Change clock and marks of an organisation, if they differ."""
        if self.overlay.get(organisation_key(organisation)) != state:
            self.overlay.put(organisation_key(organisation), state)

    def advance(self, organisation: str, event_time: int, appended_at: int) -> None:
        """Move an organisation's clock to an event time, never beyond what the broker's clock says."""
        state = self.organisation(organisation)
        watermark = min(event_time, appended_at)
        if watermark > state.watermark:
            moved = OrganisationState(state.loading, watermark, *state[2:])
            self.overlay.put(organisation_key(organisation), moved)

    # -- outputs -----------------------------------------------------------------------------------------------------

    def emit(self, organisation: str, before: Counted, after: Counted) -> None:
        """Say the difference of two sets of contributions, in an order that does not depend on hashing."""
        if before is not after:
            self._emit_side(organisation, -1, before, after)
            self._emit_side(organisation, 1, after, before)

    def _emit_side(self, organisation: str, sign: int, side: Counted, other: Counted) -> None:
        for labels, counted_here in sorted(side.items(), key=repr) if len(side) > 1 else side.items():
            known = other.get(labels)
            found = counted_here if known is None else counted_here - known
            if found:
                self._emit_transition(organisation, sign, labels, sorted(found))

    def _emit_transition(self, organisation: str, sign: int, labels: Labels, found: list[Contribution]) -> None:
        self.add(new(Transition, (self.offset, self.next_index, sign, organisation, *labels, found)))
        self._changes.append((organisation, sign, labels.groups, found))

    def count_changes(self) -> None:
        """Bring the step's transitions into the day counts and the windows built from them."""
        if not self._changes:
            return
        changes, self._changes = self._changes, []
        tables: dict[bytes, Cells] = {}
        for organisation, sign, groups, found in changes:
            state, sums = self.organisation(organisation), self.sums.get(organisation)
            labels = counts.labels_of(groups)
            for contribution in found:
                day = contribution.day
                if day < state.retired_before:
                    continue
                key = day_key(organisation, day)
                table = tables.get(key)
                if table is None:
                    table = tables[key] = self._own_table(key)
                cells = counts.cells_of(contribution, labels)
                counts.add_people(table, cells, sign)
                if sums is not None:
                    sums.add_people(day, cells, sign)
            if not state.changed:
                self.overlay.put(organisation_key(organisation), state._replace(changed=True))
        for key, table in tables.items():
            self.overlay.put(key, table or None)

    def _own_table(self, key: bytes) -> Cells:
        """Return the counts of a day to change in place: this chunk's own, else a copy of the stored ones."""
        table: Cells | None = self.overlay.changes.get(key)
        return dict(self.overlay.get(key) or {}) if table is None else table

    def add(self, output: Output) -> None:
        """Say something; its place is the next index of the record."""
        self.outputs.append(output)
        self.next_index += 1

    def reject(self, reason: RejectReason, detail: str) -> None:
        """Put the record among the dead letters."""
        self.add(Rejection(self.offset, self.next_index, reason, detail))

    def ignore(self, reason: str) -> None:
        """Say that the record changes nothing, on purpose."""
        self.add(Ignored(self.offset, self.next_index, reason))
