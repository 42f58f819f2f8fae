"""The fold of the FUNNEL agent: one input record after the other changes the state and says what changed.

A record's effect is a sequence of steps; each touches a bounded number of keys and can be committed on its own. What
a record does depends on the log before it alone, never on how the log was cut into chunks.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.domain import counts
from pipeline.domain.clusters import Counted, Labels, counted
from pipeline.domain.counts import DAYS_KEPT, Cells, WindowSums
from pipeline.domain.facts import ApplicationFacts, with_answers, with_event
from pipeline.domain.funnel_index import FunnelIndex
from pipeline.domain.overlay import Overlay
from pipeline.domain.records import (
    AlertAction,
    ApplicationEvent,
    Contribution,
    Control,
    EqualityAnswers,
    Ignored,
    StageCounts,
    Tick,
    Transition,
    VacancyEqualityTable,
    VacancyEvent,
)
from pipeline.domain.rejects import RejectReason
from pipeline.domain.state import (
    PARTITION,
    Departure,
    OrganisationState,
    PartitionState,
    VacancyState,
    application_key,
    day_key,
    departure_key,
    organisation_key,
    split_key,
    vacancy_key,
)
from pipeline.domain.steps import VacancyFacts
from pipeline.domain.windows import LocalDays
from pipeline.errors import TerminalError

FOLD_VERSION = 1
"""Changes with the meaning of a fold: state of another version needs a drained stop marked compatible, or a rebuild."""

DAY_MS = 86_400_000
MINUTE_MS = 60_000
FUTURE_TOLERANCE_MS = DAY_MS
"""Clocks and time zones of sources differ by less than a day; what is later than that is a wrong date."""
KEPT_MS = DAYS_KEPT * DAY_MS
APPLICATIONS_PER_STEP = 100
"""An application and the days it counts on are some five keys: a step stays within 500."""

ONE_STEP = (False,)
"""The steps of a record whose effect is done at once: one, and no more follow."""

NO_ORGANISATION = OrganisationState(
    loading=False,
    watermark=0,
    changed=False,
    published_day=0,
    retired_before=-(2**31),
    failures=0,
    content={},
)
NO_VACANCY = VacancyState(0, "", 0, "", None, 0, "")
_VACANCY_STATUS = {"opened": "open", "reopened": "open", "withdrawn": "withdrawn"}


class UnknownContentError(TerminalError):
    """The log names reference data that this worker does not have."""

    def __init__(self, name: str | None, content_hash: str | None) -> None:
        self.name = name
        self.content_hash = content_hash
        super().__init__(
            f"the input log switches to {name!r} with content hash {content_hash}, which this worker does not have; "
            "install the version that ships it, then start again"
        )


class InputRecord(NamedTuple):
    """One record of the input log: where it is, when it was appended, what it says or why it says nothing."""

    offset: int
    appended_at: int
    record: Any
    reject: RejectReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that was not counted, and why."""

    offset: int
    index: int
    reason: RejectReason
    detail: str


Output = Transition | StageCounts | Rejection | Ignored


@dataclass(slots=True)
class FoldResult:
    """What a run of steps said, in order, and the index that the next output of the current record will have."""

    outputs: list[Output] = field(default_factory=list)
    next_index: int = 0


class PartitionFold:
    """The fold over one partition; the caller drives its steps and commits them."""

    def __init__(
        self,
        overlay: Overlay,
        index: FunnelIndex,
        sums: dict[str, WindowSums],
        days: LocalDays,
        epoch: int,
        known_content: Mapping[str, str],
    ) -> None:
        self.overlay = overlay
        self.index = index
        self.sums = sums
        self.days = days
        self.epoch = epoch
        self.known_content = known_content
        self.result = FoldResult()
        self._offset = 0
        self._changes: list[tuple[str, int, tuple[str, ...], list[Contribution]]] = []
        self._handlers: dict[type, Callable[[Any, int, int], Iterable[bool]]] = {
            ApplicationEvent: self._application_event,
            EqualityAnswers: self._equality_answers,
            VacancyEvent: self._vacancy_event,
            Control: self._control,
            Tick: self._tick,
            VacancyEqualityTable: self._not_counted_yet,
            AlertAction: self._not_counted_yet,
        }

    def steps(self, item: InputRecord, done: int = 0, next_index: int = 0) -> Iterator[bool]:
        """Fold one record step by step; every ``next`` makes one step part of the overlay and says whether more follow.

        Args:
            item: the record.
            done: steps of this record that the state holds already (the worker stopped inside it).
            next_index: index of its first output that was not sent before.

        Raises:
            UnknownContentError: the record names reference data that is not here; the worker must stop.
        """
        self._offset, self.result.next_index = item.offset, next_index
        mark = len(self.result.outputs), next_index
        try:
            for more in self._effects(item, done):
                self._count_changes()
                self.overlay.accept()
                yield more
                mark = len(self.result.outputs), self.result.next_index
        except TerminalError:
            raise
        except Exception as error:  # noqa: BLE001  the fold is pure: it would fail again, so the record goes aside
            self._fail(item, error, *mark)
            yield False

    def _effects(self, item: InputRecord, done: int) -> Iterable[bool]:
        """Do the steps of a record, or the only one at once; each value says whether more follow."""
        if item.reject is not None:
            self._reject(item.reject, item.detail)
            return ONE_STEP
        handler = self._handlers.get(type(item.record))
        if handler is None:
            self._reject(RejectReason.UNEXPECTED_RECORD, f"{type(item.record).__name__} is no input record")
            return ONE_STEP
        return handler(item.record, item.appended_at, done)

    # -- applications ------------------------------------------------------------------------------------------------

    def _application_event(self, event: ApplicationEvent, appended_at: int, _done: int) -> Iterable[bool]:
        organisation, application_id, target = event.organisation, event.application_id, event.merged_into
        if event.event_type == "erased":
            self._erase(organisation, application_id)
        elif event.event_type == "merged" and target and self._is_erased(organisation, application_id):
            self._erase(organisation, target)
        else:
            facts = self._countable_facts(organisation, application_id, event.event_time, appended_at)
            if facts is not None:
                self._change(organisation, application_id, facts, with_event(facts, event), target)
                self._advance(organisation, event.event_time, appended_at)
        return ONE_STEP

    def _equality_answers(self, record: EqualityAnswers, appended_at: int, _done: int) -> Iterable[bool]:
        organisation, application_id = record.organisation, record.application_id
        facts = self._countable_facts(organisation, application_id, record.event_time, appended_at)
        if facts is not None:
            self._change(organisation, application_id, facts, with_answers(facts, record), None)
            self._advance(organisation, record.event_time, appended_at)
        return ONE_STEP

    def _facts(self, organisation: str, application_id: str) -> ApplicationFacts:
        return self.overlay.get(application_key(organisation, application_id)) or ApplicationFacts()

    def _change(
        self,
        organisation: str,
        application_id: str,
        old: ApplicationFacts,
        new: ApplicationFacts,
        target: str | None,
    ) -> None:
        """Replace the facts of an application and count the difference, over all applications it is linked with."""
        if new is old:
            self._ignore("repeated")
            return
        before = self._members(organisation, application_id, old)
        counted_before = self._count(organisation, before)
        after = {**before, application_id: new}
        if target and target not in before and any(event.target == target for event in new.events):
            if self._is_erased(organisation, target):
                self._erase(organisation, application_id)
                return
            if self.overlay.get(departure_key(organisation, target)) is None:
                other = self._members(organisation, target, self._facts(organisation, target))
                counted_before = counted_before | self._count(organisation, other)
                before, after = {**before, **other}, _linked({**after, **other})
        for member, facts in after.items():
            if before[member] is not facts:
                self.overlay.put(application_key(organisation, member), facts)
        self._emit(organisation, counted_before, self._count(organisation, after))

    def _is_erased(self, organisation: str, application_id: str) -> bool:
        return bool(self.overlay.get(departure_key(organisation, application_id)) == Departure("erased"))

    def _members(self, organisation: str, application_id: str, facts: ApplicationFacts) -> dict[str, ApplicationFacts]:
        members = {application_id: facts}
        for member in facts.cluster:
            if member != application_id:
                members[member] = self._facts(organisation, member)
        return members

    def _count(
        self,
        organisation: str,
        members: Mapping[str, ApplicationFacts],
        vacancy_of: Callable[[str], VacancyFacts] | None = None,
    ) -> Counted:
        def stored(vacancy_id: str) -> VacancyFacts:
            return vacancy_facts(self.overlay.get(vacancy_key(organisation, vacancy_id)))

        return counted(members, vacancy_of or stored, self.days.day_of)

    def _erase(self, organisation: str, application_id: str) -> None:
        """Forget a person: all linked applications go, a hash of each id stays so that nothing revives them."""
        if self._is_erased(organisation, application_id):
            self._ignore("erased")
            return
        members = self._members(organisation, application_id, self._facts(organisation, application_id))
        for member in members:
            if self.overlay.get(application_key(organisation, member)) is not None:
                self.overlay.put(application_key(organisation, member), None)
            self.overlay.put(departure_key(organisation, member), Departure("erased"))
        self._emit(organisation, self._count(organisation, members), {})

    # -- vacancies ---------------------------------------------------------------------------------------------------

    def _vacancy_event(self, event: VacancyEvent, appended_at: int, done: int) -> Iterator[bool]:
        if not self._is_time_countable(event.organisation, event.event_time, appended_at):
            yield False
            return
        key = vacancy_key(event.organisation, event.vacancy_id)
        old = self.overlay.get(key) or NO_VACANCY
        new = _with_vacancy_event(old, event)
        facts_before, facts_after = vacancy_facts(old), vacancy_facts(new)
        if facts_before != facts_after:
            applications = sorted(self.index.applications_of.get(key, ()))
            for start in range(done * APPLICATIONS_PER_STEP, len(applications), APPLICATIONS_PER_STEP):
                for application in applications[start : start + APPLICATIONS_PER_STEP]:
                    self._recount(event, application, facts_before, facts_after)
                yield True
        if new == old:
            self._ignore("repeated")
        else:
            self.overlay.put(key, new)
        self._advance(event.organisation, event.event_time, appended_at)
        yield False

    def _recount(self, event: VacancyEvent, key: bytes, before: VacancyFacts, after: VacancyFacts) -> None:
        """Count one application (once for all that are linked with it) under the vacancy's new facts."""
        application_id = split_key(key)[1]
        members = self._members(event.organisation, application_id, self.overlay.get(key))
        if len(members) > 1:
            vacancy = vacancy_key(event.organisation, event.vacancy_id)
            here = self.index.applications_of[vacancy]
            if application_id != min(name for name in members if application_key(event.organisation, name) in here):
                return

        def vacancy_of(changed: VacancyFacts) -> Callable[[str], VacancyFacts]:
            return lambda vacancy_id: (
                changed
                if vacancy_id == event.vacancy_id
                else vacancy_facts(self.overlay.get(vacancy_key(event.organisation, vacancy_id)))
            )

        self._emit(
            event.organisation,
            self._count(event.organisation, members, vacancy_of(before)),
            self._count(event.organisation, members, vacancy_of(after)),
        )

    # -- what is in the log beside people ----------------------------------------------------------------------------

    def _control(self, control: Control, _appended_at: int, _done: int) -> Iterable[bool]:
        state = self._organisation(control.organisation)
        if control.kind == "content":
            if self.known_content.get(control.content_name or "") != control.content_hash:
                raise UnknownContentError(control.content_name, control.content_hash)
            content = {**state.content, str(control.content_name): str(control.content_hash)}
            self._put_organisation(control.organisation, state._replace(content=content))
        else:
            self._put_organisation(control.organisation, state._replace(loading=control.kind == "loading"))
        return ONE_STEP

    def _not_counted_yet(
        self, record: VacancyEqualityTable | AlertAction, _appended_at: int, _done: int
    ) -> Iterable[bool]:
        """Keep to the archive what no rule counts yet; a rebuild under a later fold version will find it there."""
        self._ignore("equality_table" if isinstance(record, VacancyEqualityTable) else "alert_action")
        return ONE_STEP

    def _tick(self, tick: Tick, appended_at: int, _done: int) -> Iterator[bool]:
        """Publish windows, let finished applications leave, retire old days; whatever was done already is skipped."""
        partition: PartitionState = self.overlay.get(PARTITION)
        if tick.minute <= partition.tick_minute:
            self._ignore("repeated")
            yield False
            return
        now = min(tick.minute * MINUTE_MS, appended_at)
        for organisation in sorted(self.index.organisations):
            state = self._organisation(organisation)
            today = self.days.day_of(state.watermark if state.loading else max(now, state.watermark))
            if state.changed or state.published_day != today:
                self._publish(organisation, today)
                state = state._replace(changed=False, published_day=today)
                state = state if state.loading else self._retire_days(organisation, state, today)
                self.overlay.put(organisation_key(organisation), state)
                yield True
        leaving = self._leaving(now - KEPT_MS)
        for start in range(0, len(leaving), APPLICATIONS_PER_STEP):
            for key in leaving[start : start + APPLICATIONS_PER_STEP]:
                self.overlay.put(key, None)
                self.overlay.put(departure_key(*split_key(key)), Departure("left"))
            yield True
        self.overlay.put(PARTITION, partition._replace(tick_minute=tick.minute))
        yield False

    def _publish(self, organisation: str, today: int) -> None:
        sums = self._window_sums(organisation, today + 1)
        for length, cells in sums.sums.items():
            self._add(
                StageCounts(
                    self.epoch,
                    organisation,
                    length,
                    today + 1 - length,
                    today + 1,
                    self._offset,
                    self.result.next_index,
                    counts.stage_counts(cells),
                )
            )

    def _window_sums(self, organisation: str, end_day: int) -> WindowSums:
        def cells_of(day: int) -> Cells:
            return self.overlay.get(day_key(organisation, day)) or {}

        sums = self.sums.get(organisation)
        if sums is None:
            sums = self.sums[organisation] = WindowSums(end_day, cells_of, self.index.days_of[organisation])
        elif sums.end_day != end_day:
            sums.advance(end_day, cells_of)
        return sums

    def _retire_days(self, organisation: str, state: OrganisationState, today: int) -> OrganisationState:
        before = max(today - DAYS_KEPT, state.retired_before)
        for day in self.index.days_of[organisation]:
            if day < before:
                self.overlay.put(day_key(organisation, day), None)
        return state._replace(retired_before=before)

    def _leaving(self, cutoff_ms: int) -> list[bytes]:
        """Return the applications of live organisations whose every linked application had its last event before."""
        leaving = []
        for key in self.index.due_before(cutoff_ms):
            organisation, application_id = split_key(key)
            if self._organisation(organisation).loading:
                continue
            members = self._members(organisation, application_id, self.overlay.get(key))
            if all(facts.last_event < cutoff_ms for facts in members.values()):
                leaving.append(key)
        return leaving

    # -- what may be counted, clocks ---------------------------------------------------------------------------------

    def _countable_facts(
        self, organisation: str, application_id: str, event_time: int, appended_at: int
    ) -> ApplicationFacts | None:
        """Return the facts that a record adds to, or None when it may not be counted: the reason is said then.

        An application is stored or departed, never both.
        """
        facts: ApplicationFacts | None = self.overlay.get(application_key(organisation, application_id))
        departure = None
        if facts is None:
            departure = self.overlay.get(departure_key(organisation, application_id))
        if departure is not None and departure.reason == "erased":
            self._ignore("erased")
        elif self._is_time_countable(organisation, event_time, appended_at):
            if departure is None:
                return facts or ApplicationFacts()
            self._reject(RejectReason.TOO_LATE, "the application left 400 days after its last event")
        return None

    def _is_time_countable(self, organisation: str, event_time: int, appended_at: int) -> bool:
        state = self._organisation(organisation)
        reference = state.watermark if state.loading else appended_at
        if event_time < DAY_MS:
            self._reject(
                RejectReason.IMPLAUSIBLE_EVENT_TIME,
                "the event time is on 1970-01-01 or before: a missing date?",
            )
        elif event_time > appended_at + FUTURE_TOLERANCE_MS:
            self._reject(
                RejectReason.FUTURE_EVENT_TIME,
                "the event time is more than a day after the broker's append time",
            )
        elif event_time < reference - KEPT_MS:
            self._reject(RejectReason.TOO_LATE, "the event time is more than 400 days before the organisation's clock")
        else:
            return True
        return False

    def _organisation(self, organisation: str) -> OrganisationState:
        return self.overlay.get(organisation_key(organisation)) or NO_ORGANISATION

    def _put_organisation(self, organisation: str, state: OrganisationState) -> None:
        if self.overlay.get(organisation_key(organisation)) != state:
            self.overlay.put(organisation_key(organisation), state)

    def _advance(self, organisation: str, event_time: int, appended_at: int) -> None:
        state = self._organisation(organisation)
        watermark = min(event_time, appended_at)
        if watermark > state.watermark:
            moved = OrganisationState(state.loading, watermark, *state[2:])
            self.overlay.put(organisation_key(organisation), moved)

    # -- outputs -----------------------------------------------------------------------------------------------------

    def _emit(self, organisation: str, before: Counted, after: Counted) -> None:
        """Say the difference of two sets of contributions, in an order that does not depend on hashing."""
        if before is not after:
            self._emit_side(organisation, -1, before, after)
            self._emit_side(organisation, 1, after, before)

    def _emit_side(self, organisation: str, sign: int, side: Counted, other: Counted) -> None:
        for labels in sorted(side, key=repr) if len(side) > 1 else side:
            found = side[labels]
            known = other.get(labels)
            if known is not None:
                found = found - known
            if found:
                self._emit_transition(organisation, sign, labels, sorted(found))

    def _emit_transition(self, organisation: str, sign: int, labels: Labels, found: list[Contribution]) -> None:
        self._add(
            Transition(
                self._offset,
                self.result.next_index,
                sign,
                organisation,
                labels.application_id,
                labels.vacancy_id,
                labels.route,
                labels.internal,
                labels.guaranteed_interview,
                labels.groups,
                found,
            )
        )
        self._changes.append((organisation, sign, labels.groups, found))

    def _count_changes(self) -> None:
        """Bring the step's transitions into the day counts and the windows built from them."""
        if not self._changes:
            return
        changes, self._changes = self._changes, []
        tables: dict[bytes, Cells] = {}
        for organisation, sign, groups, found in changes:
            state, sums = self._organisation(organisation), self.sums.get(organisation)
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

    def _add(self, output: Output) -> None:
        self.result.outputs.append(output)
        self.result.next_index += 1

    def _reject(self, reason: RejectReason, detail: str) -> None:
        self._add(Rejection(self._offset, self.result.next_index, reason, detail))

    def _ignore(self, reason: str) -> None:
        self._add(Ignored(self._offset, self.result.next_index, reason))

    def _fail(self, item: InputRecord, error: Exception, outputs: int, next_index: int) -> None:
        """Put a record aside whose fold raised: its step is undone, its organisation flagged."""
        del self.result.outputs[outputs:]
        self.result.next_index = next_index
        self._changes = []
        self.overlay.drop_step()
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename.rsplit('/', 1)[-1]} line {last.lineno}"  # a value could name a person, a place cannot
        self._reject(RejectReason.FOLD_FAILED, f"{type(error).__name__} in {place}")
        organisation = getattr(item.record, "organisation", None)
        if organisation is not None:
            state = self._organisation(organisation)
            self.overlay.put(organisation_key(organisation), state._replace(failures=state.failures + 1))
        self.overlay.accept()


def _linked(members: Mapping[str, ApplicationFacts]) -> dict[str, ApplicationFacts]:
    """Return applications each of which knows all of them from now on."""
    cluster = tuple(sorted(members))
    return {name: replace(facts, cluster=cluster) for name, facts in members.items()}


@lru_cache(maxsize=4096)
def vacancy_facts(state: VacancyState | None) -> VacancyFacts:
    """Return what a vacancy decides."""
    if state is None:
        return VacancyFacts()
    return VacancyFacts(bool(state.longlisting_used), state.status_time if state.status == "withdrawn" else None)


def _with_vacancy_event(old: VacancyState, event: VacancyEvent) -> VacancyState:
    """Return a vacancy's deciding facts with an event's: the last by (event time, event id) holds for each."""
    new = old._replace(last_event=max(old.last_event, event.event_time))
    written = event.event_time, event.event_id
    status = _VACANCY_STATUS.get(event.event_type)
    if status is not None and written >= (old.status_time, old.status_id):
        new = new._replace(status=status, status_time=event.event_time, status_id=event.event_id)
    if event.longlisting_used is not None and written >= (old.longlisting_time, old.longlisting_id):
        new = new._replace(
            longlisting_used=event.longlisting_used,
            longlisting_time=event.event_time,
            longlisting_id=event.event_id,
        )
    return new
