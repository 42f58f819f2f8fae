"""Which records of the input log count: one partition read once, in log order, by the independent recount.

Whether a record is accepted depends on its bytes, its place and what came before it in its partition: an
erased application stays silent, one that has left stays closed. Everything accepted is kept unsorted; what it
means is worked out once at the end (``recount_rules``), or when an application leaves.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from pipeline.codec import Codec, Rejected
from pipeline.domain.records import (
    AlertAction,
    ApplicationEvent,
    Control,
    EqualityAnswers,
    Tick,
    VacancyEqualityTable,
    VacancyEvent,
)
from pipeline.domain.rejects import RejectReason
from pipeline.errors import TerminalError
from pipeline.reconcile.recount_rules import (
    Answered,
    Counted,
    Vacancy,
    VacancyHappening,
    components,
    count_application,
    groups_answered,
    vacancy_at_the_end,
)
from pipeline.reconcile.recount_walk import Happening
from pipeline.topics import partition_of

DAY_MS: Final = 86_400_000
KEPT_MS: Final = 400 * DAY_MS
"""How long after its last event an application can change: a year of windows and a month for late exports."""

LARGEST_VALUE: Final = 1 << 20
_OF_AN_ORGANISATION: Final = (
    ApplicationEvent,
    EqualityAnswers,
    VacancyEvent,
    VacancyEqualityTable,
    AlertAction,
    Control,
)


class InputRecord(Protocol):
    """One record of the input log, unread, however it is held."""

    @property
    def partition(self) -> int:
        """Partition it was found in."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def append_ms(self) -> int:
        """When the broker appended it, milliseconds since 1970 in UTC."""

    @property
    def key(self) -> bytes | None:
        """Key as it was."""

    @property
    def value(self) -> bytes | None:
        """Value as it was."""


class ArchivedInput(NamedTuple):
    """One record of the input log as history archived it."""

    partition: int
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None


class ArchiveOrderError(TerminalError):
    """The archive gives a record twice or out of order: what a record does depends on those before it."""

    def __init__(self, partition: int, offset: int, last: int) -> None:
        self.partition = partition
        self.offset = offset
        super().__init__(
            f"partition {partition} of the archive: expected an offset after {last}, found {offset}; the history "
            "file does not hold the input log as it was"
        )


class RejectedInput(NamedTuple):
    """An input record that cannot be counted."""

    partition: int
    offset: int
    reason: str


@dataclass(slots=True)
class Organisation:
    """Everything accepted of one organisation, unsorted."""

    is_loading: bool = False
    last_offset: int = -1
    latest: int | None = None
    happenings: dict[str, list[Happening]] = field(default_factory=dict)
    answers: dict[str, list[Answered]] = field(default_factory=dict)
    vacancies: dict[str, list[VacancyHappening]] = field(default_factory=dict)
    linked: dict[str, set[str]] = field(default_factory=dict)
    last_time: dict[str, int] = field(default_factory=dict)
    due: list[tuple[int, str]] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    departed: list[tuple[str, list[Counted]]] = field(default_factory=list)

    def cluster(self, application_id: str) -> set[str]:
        """Return everything ever linked with an application, itself included."""
        return self.linked.setdefault(application_id, {application_id})

    def clusters(self) -> Iterator[set[str]]:
        """Yield each set of linked applications that has records once."""
        seen: set[int] = set()
        for application_id in (*self.happenings, *(a for a in self.answers if a not in self.happenings)):
            cluster = self.cluster(application_id)
            if id(cluster) not in seen:
                seen.add(id(cluster))
                yield cluster

    def link(self, one: str, other: str) -> None:
        """Join everything ever linked with either application, for good."""
        small, large = sorted((self.cluster(one), self.cluster(other)), key=len)
        if small is not large:
            large |= small
            for application_id in small:
                self.linked[application_id] = large

    def follow_links(self, event: ApplicationEvent) -> None:
        """Join what an event links, and erase everything linked to anything that was ever erased."""
        target = event.merged_into if event.event_type == "merged" else None
        # What has left is closed, merging included; but erasure reaches it, and goes on from it.
        if target is not None and (target not in self.left or self.erased & {event.application_id, target}):
            self.link(event.application_id, target)
        cluster = self.cluster(event.application_id)
        if event.event_type == "erased" or not self.erased.isdisjoint(cluster):
            self.erased |= cluster
            self.forget(cluster)

    def mistimed(self, event_time: int, append_ms: int) -> str | None:
        """Return why a record cannot have happened at this time, if so.

        While a backfill is loading, old events are not late: they are compared with the newest so far.
        """
        if event_time > append_ms + DAY_MS:
            return RejectReason.FUTURE_EVENT_TIME
        if event_time < DAY_MS:
            return RejectReason.IMPLAUSIBLE_EVENT_TIME
        reference = self.latest if self.is_loading else append_ms
        if reference is not None and event_time < reference - KEPT_MS:
            return RejectReason.TOO_LATE
        return None

    def advance(self, event_time: int, append_ms: int) -> None:
        """Remember the newest event time; one from the future must not make the present late."""
        seen = min(event_time, append_ms)
        self.latest = seen if self.latest is None else max(seen, self.latest)

    def touch(self, application_id: str, event_time: int) -> None:
        """Remember when something last happened to an application."""
        before = self.last_time.get(application_id)
        self.last_time[application_id] = max(event_time, before or event_time)
        if before is None:
            heapq.heappush(self.due, (event_time, application_id))

    def forget(self, cluster: Iterable[str]) -> None:
        """Drop what is known of the applications."""
        for application_id in cluster:
            for known in (self.happenings, self.answers, self.last_time):
                known.pop(application_id, None)

    def count(self, clusters: Iterable[set[str]], day_of: Callable[[int], int]) -> Iterator[tuple[str, list[Counted]]]:
        """Yield (root, what it adds) of each application of the clusters, from what is known by now."""

        def vacancy_of(vacancy_id: str | None) -> Vacancy:
            said = self.vacancies.get(vacancy_id, []) if vacancy_id is not None else []
            return vacancy_at_the_end(said, day_of)

        for cluster in clusters:
            happenings = [h for member in cluster for h in self.happenings.get(member, ())]
            answers = [a for member in cluster for a in self.answers.get(member, ())]
            for component in components(cluster, happenings):
                counted = count_application(component, happenings, answers, vacancy_of, day_of)
                if counted:
                    yield component.root, counted


@dataclass(slots=True)
class Reading:
    """One partition while its log is read from the beginning."""

    partition: int
    partitions: int
    codec: Codec
    day_of: Callable[[int], int]
    last_offset: int = -1
    organisations: dict[str, Organisation] = field(default_factory=dict)
    rejected: list[RejectedInput] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def take(self, one: InputRecord) -> None:
        """Read the next record of the log."""
        if one.offset <= self.last_offset:
            raise ArchiveOrderError(one.partition, one.offset, self.last_offset)
        self.last_offset = one.offset
        record, reason = self._read(one)
        if reason is None and isinstance(record, Tick):
            self._let_leave(record.minute * 60_000 - KEPT_MS)
        elif reason is None:
            reason = self._accept(record, one)
        if reason is not None:
            self.rejected.append(RejectedInput(one.partition, one.offset, str(reason)))

    def _read(self, one: InputRecord) -> tuple[Any, str | None]:
        """Return the record, or why its bytes make it unreadable or its place is wrong."""
        if one.value is not None and len(one.value) > LARGEST_VALUE:
            return None, RejectReason.TOO_LARGE
        decoded = self.codec.decode(one.value)
        if isinstance(decoded, Rejected):
            return None, decoded.reason
        record = decoded.record
        return record, None if isinstance(record, Tick) else self._misplaced(record, one)

    def _misplaced(self, record: Any, one: InputRecord) -> str | None:
        if not isinstance(record, _OF_AN_ORGANISATION):
            return RejectReason.UNEXPECTED_RECORD
        if not one.key:
            return RejectReason.MISSING_KEY
        if one.key != record.organisation.encode():
            return RejectReason.KEY_MISMATCH
        if partition_of(one.key, self.partitions) != one.partition:
            return RejectReason.WRONG_PARTITION
        return None

    def _accept(self, record: Any, one: InputRecord) -> str | None:
        """Put a record to what is known of its organisation, or return why it comes at an impossible time."""
        organisation = self.organisations.setdefault(record.organisation, Organisation())
        if isinstance(record, Control) and record.kind in ("loading", "caught_up"):
            organisation.is_loading = record.kind == "loading"
        if not isinstance(record, ApplicationEvent | EqualityAnswers | VacancyEvent):
            return None
        if isinstance(record, VacancyEvent):
            reason = organisation.mistimed(record.event_time, one.append_ms)
            if reason is None:
                organisation.advance(record.event_time, one.append_ms)
                organisation.vacancies.setdefault(record.vacancy_id, []).append(_said(record))
        elif record.application_id in organisation.erased:
            # Ignored before anything else: a dead letter would keep what was to be erased.
            self.ignored["erased"] += 1
            reason = None
            if isinstance(record, ApplicationEvent):
                organisation.follow_links(record)
        else:
            reason = self._accept_of_application(organisation, record, one.append_ms)
        if reason is None:
            organisation.last_offset = one.offset
        return reason

    def _accept_of_application(
        self, organisation: Organisation, record: ApplicationEvent | EqualityAnswers, append_ms: int
    ) -> str | None:
        # An erasure is never too late or too early: as a dead letter it would erase nothing.
        if not (isinstance(record, ApplicationEvent) and record.event_type == "erased"):
            reason = organisation.mistimed(record.event_time, append_ms)
            if reason is not None or record.application_id in organisation.left:
                return reason or RejectReason.TOO_LATE
            organisation.advance(record.event_time, append_ms)
        organisation.touch(record.application_id, record.event_time)
        if isinstance(record, EqualityAnswers):
            organisation.answers.setdefault(record.application_id, []).append(_answered(record))
        else:
            self._happened(organisation, record)
        return None

    def _happened(self, organisation: Organisation, event: ApplicationEvent) -> None:
        happening = _happening(event)
        known = organisation.happenings.setdefault(event.application_id, [])
        if happening not in known:
            known.append(happening)
        organisation.follow_links(event)

    def _let_leave(self, before_ms: int) -> None:
        """Let every application leave whose linked applications all had their last event before a time."""
        for organisation in self.organisations.values():
            while not organisation.is_loading and organisation.due and organisation.due[0][0] < before_ms:
                _, application_id = heapq.heappop(organisation.due)
                times = organisation.last_time
                if application_id not in times:
                    continue  # erased, or gone with a linked application
                cluster = organisation.cluster(application_id)
                last = max(times[member] for member in cluster if member in times)
                if last >= before_ms:
                    heapq.heappush(organisation.due, (last, application_id))
                    continue
                organisation.departed += organisation.count([cluster], self.day_of)
                organisation.left |= cluster
                organisation.forget(cluster)
                for member in cluster:
                    organisation.linked.pop(member, None)  # nothing is known of it but that it has left


def _happening(event: ApplicationEvent) -> Happening:
    return Happening(
        application_id=event.application_id,
        event_time=event.event_time,
        event_type=event.event_type,
        event_id=event.event_id,
        action_id=event.action_id,
        stage=event.stage,
        voided=tuple(one for one in (event.corrects, event.voids) if one is not None),
        merged_into=event.merged_into,
        vacancy_id=event.vacancy_id,
    )


def _answered(record: EqualityAnswers) -> Answered:
    is_objection = record.status == "withdrawn"
    return Answered(
        application_id=record.application_id,
        event_time=record.event_time,
        event_id=record.event_id,
        at_application=record.collected_at == "application",
        groups=None if is_objection else groups_answered(record.answers),
    )


def _said(event: VacancyEvent) -> VacancyHappening:
    return VacancyHappening(event.event_time, event.event_id, event.event_type, event.longlisting_used)
