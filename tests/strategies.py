"""Hypothesis strategies for histories: what a few applications of a few vacancies can throw at the fold.

``histories()`` draws the records of one to three organisations in the order of their arrival: whole pathways and stray
events, ties to the millisecond, days that begin and end with summer time, repeated deliveries, corrections and voids
(of events that exist, never existed, belong to somebody else, or were merges), merges in chains, forks and cycles,
into strangers and into themselves, objections, late and changed answers, withdrawn and reopened vacancies, erasures.

Every event time lies between ``EARLIEST_MS`` and ``LATEST_MS``, so that a record appended at ``APPEND_MS`` is neither
late nor early, whether the organisation is live or loading. An application keeps its vacancy, and an event id means one
event.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from pipeline.domain.records import (
    AlertAction,
    Answer,
    ApplicationEvent,
    Control,
    EqualityAnswers,
    TableCount,
    Tick,
    VacancyEqualityTable,
    VacancyEvent,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EARLIEST_MS = 1_711_756_800_000
"""2024-03-30T00:00Z, the day before summer time begins in London; it ends on day 211."""

LATEST_MS = EARLIEST_MS + 300 * DAY_MS
APPEND_MS = LATEST_MS

ORGANISATIONS = ("R0A", "RJ1", "Example Trust, Sète")

_DAYS = (0, 1, 2, 3, 7, 30, 178, 179, 180, 181, 182, 210, 211, 212, 240)
_INSTANTS = (0, 1, HOUR_MS - 1, HOUR_MS, 12 * HOUR_MS, 23 * HOUR_MS - 1, 23 * HOUR_MS, DAY_MS - 1)
_GAPS = (0, 1, HOUR_MS, DAY_MS, 20 * DAY_MS)

PATHWAYS: tuple[tuple[str, ...], ...] = (
    ("applied",),
    ("applied", "rejected"),
    ("applied", "longlisted", "rejected"),
    ("applied", "withdrawn"),
    ("applied", "shortlisted", "interview_invited", "interviewed", "rejected"),
    ("applied", "shortlisted", "did_not_attend"),
    ("applied", "interviewed", "rejected"),
    ("applied", "shortlisted", "interviewed", "offered", "offer_declined"),
    ("applied", "shortlisted", "offered", "offer_declined", "offered", "offer_accepted", "started"),
    ("applied", "shortlisted", "offered", "offer_withdrawn", "reinstated", "offered", "offer_accepted"),
    ("applied", "longlisted", "shortlisted", "reserved", "offered", "offer_accepted", "check_updated", "started"),
    ("applied", "shortlisted", "offered", "offer_accepted", "rejected", "reinstated", "started", "inducted"),
    ("applied", "shortlisted", "offered", "offer_accepted", "withdrawn", "started"),
    ("applied", "shortlisted", "offered", "offer_accepted", "hire_undone", "rejected"),
    ("offer_accepted", "started", "left"),
    ("started", "hire_undone", "offered"),
)
"""Sequences that reach deep into the rules; stray events are added to them, times may tie or run backwards."""

KINDS = (
    *("applied", "longlisted", "shortlisted", "reserved", "interview_invited", "interviewed", "did_not_attend"),
    *("offered", "offer_accepted", "offer_declined", "offer_withdrawn", "check_updated", "cleared"),
    *("start_booked", "started", "inducted", "rejected", "withdrawn", "reinstated", "hire_undone", "left"),
    *("adjustment_requested", "adjustment_provided"),
)
"""Every event type but ``merged`` and ``erased``, which have switches of their own."""

_STAGES = (None, None, None, "longlisted", "shortlisted", "interviewed", "offered", "accepted", "started")
_ANSWERS = (
    Answer("ethnicity", "nhs_ethnic_category", "A"),
    Answer("ethnicity", "nhs_ethnic_category", "M"),
    Answer("ethnicity", "nhs_ethnic_category", "CA"),
    Answer("ethnicity", "nhs_ethnic_category", "Z"),
    Answer("ethnicity", "local:broad_ethnic_group", "White"),
    Answer("ethnicity", None, None, "declined"),
    Answer("sex", "nhs_stated_gender", "1"),
    Answer("sex", "nhs_stated_gender", "2"),
    Answer("sex", None, None, "no_response"),
    Answer("disability", "nhs_disability", "yes"),
    Answer("disability", None, None, "withdrawn"),
    Answer("pregnancy_maternity", "yes_no", "no"),
)


class _Cast(NamedTuple):
    """Who takes part: an organisation, its vacancies and which application is for which."""

    organisation: str
    vacancies: tuple[str, ...]
    vacancy_of: dict[str, str | None]


def instants() -> st.SearchStrategy[int]:
    """Draw event times that tie, touch midnight in both zones, and cross the 180-day horizon."""
    return st.builds(
        lambda day, ms: EARLIEST_MS + day * DAY_MS + ms, st.sampled_from(_DAYS), st.sampled_from(_INSTANTS)
    )


@st.composite
def application_records(
    draw: st.DrawFn,
    *,
    organisation: str = ORGANISATIONS[0],
    application_id: str = "a1",
    vacancy_id: str | None = "v1",
    id_prefix: str = "",
) -> list[Any]:
    """Draw the events and answers of one application, without merges and erasure."""
    cast = _Cast(organisation, (), {application_id: vacancy_id})
    numbers = _Numbers(id_prefix)
    records = draw(_events(cast, application_id, numbers))
    records += draw(_equality(cast, application_id, numbers))
    return [*records, *draw(_voids(cast, [application_id], records, numbers))]


@st.composite
def histories(
    draw: st.DrawFn,
    *,
    organisations: int = 3,
    applications: int = 4,
    merges: bool = True,
    erasures: bool = True,
    vacancies: bool = True,
    controls: bool = True,
    duplicates: bool = True,
    others: bool = True,
) -> list[Any]:
    """Draw the records of a whole input log in the order of their arrival.

    Args:
        draw: Given by Hypothesis.
        organisations: At most how many employers.
        applications: At most how many applications each.
        merges: Whether applications may be merged.
        erasures: Whether applications may be erased, along all merges they were ever in.
        vacancies: Whether vacancy events may occur.
        controls: Whether stretches of loading may occur.
        duplicates: Whether records may be delivered again.
        others: Whether records that no count depends on may occur.

    Returns:
        Canonical records; give each the organisation as key, its partition and ``APPEND_MS``.
    """
    records: list[Any] = []
    names = draw(st.lists(st.sampled_from(ORGANISATIONS), min_size=1, max_size=organisations, unique=True))
    for position, organisation in enumerate(names):
        cast = draw(_casts(organisation, applications))
        numbers = _Numbers(f"{position}-" if draw(st.booleans()) else "")
        mine: list[Any] = []
        for application_id in cast.vacancy_of:
            mine += draw(_events(cast, application_id, numbers))
            mine += draw(_equality(cast, application_id, numbers))
        if merges:
            mine += draw(_merges(cast, numbers))
        mine += draw(_voids(cast, list(cast.vacancy_of), mine, numbers))
        if vacancies:
            mine += draw(_vacancy_events(cast, numbers))
        if erasures and draw(st.integers(0, 3)) == 0:
            mine.append(draw(_erasure(cast, numbers)))
        if others and cast.vacancies and draw(st.integers(0, 4)) == 0:
            mine += _others(cast, numbers)
        records += mine
    if duplicates:
        records += draw(st.lists(st.sampled_from(records), max_size=4))
    ordered = list(draw(st.permutations(records))) if draw(st.booleans()) else records
    return draw(_with_loading(names, ordered)) if controls else ordered


class _Numbers:
    """Gives event ids whose order is not the order in which they were made."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made = 0

    def next(self) -> str:
        self._made += 1
        return f"{self._prefix}{self._made * 37 % 101:03d}-{self._made}"


@st.composite
def _casts(draw: st.DrawFn, organisation: str, applications: int) -> _Cast:
    vacancies = ("v1", "v2")[: draw(st.integers(0, 2))]
    ids = ("a1", "a2", "b1", "c9", "Z0", "d4", "e5", "f6")[: draw(st.integers(1, applications))]
    # The first vacancy is likely: applications of one vacancy can be merged.
    choices = st.sampled_from((*vacancies[:1] * 3, *vacancies, None))
    return _Cast(organisation, vacancies, {application_id: draw(choices) for application_id in ids})


def _event(cast: _Cast, application_id: str, event_id: str, kind: str, at: int, **more: Any) -> ApplicationEvent:
    return ApplicationEvent(
        event_id=event_id,
        event_type=kind,
        event_time=at,
        observed_time=at,
        source_system="test",
        organisation=cast.organisation,
        application_id=application_id,
        vacancy_id=cast.vacancy_of.get(application_id),
        **more,
    )


@st.composite
def _events(draw: st.DrawFn, cast: _Cast, application_id: str, numbers: _Numbers) -> list[ApplicationEvent]:
    at = draw(instants())
    planned: list[tuple[str, int]] = []
    for kind in draw(st.sampled_from(PATHWAYS)):
        planned.append((kind, at))
        at = min(at + draw(st.sampled_from(_GAPS)), LATEST_MS)
    planned += draw(st.lists(st.tuples(st.sampled_from(KINDS), instants()), max_size=3))
    stages, actions = st.sampled_from(_STAGES), st.sampled_from((None, None, None, "act-1", "act-2"))
    return [
        _event(cast, application_id, numbers.next(), kind, at, stage=draw(stages), action_id=draw(actions))
        for kind, at in planned
    ]


@st.composite
def _equality(draw: st.DrawFn, cast: _Cast, application_id: str, numbers: _Numbers) -> list[EqualityAnswers]:
    return [
        EqualityAnswers(
            event_id=numbers.next(),
            event_time=draw(instants()),
            organisation=cast.organisation,
            application_id=application_id,
            status="withdrawn" if is_objection else "given",
            collected_at=draw(st.sampled_from(("application", "application", "offer", "employment"))),
            answers=[] if is_objection else draw(_one_answer_each()),
            source_system="test",
        )
        for is_objection in draw(st.lists(st.sampled_from((False, False, False, True)), max_size=3))
    ]


def _one_answer_each() -> st.SearchStrategy[list[Answer]]:
    return st.lists(st.sampled_from(_ANSWERS), max_size=4, unique_by=lambda answer: answer.characteristic)


@st.composite
def _merges(draw: st.DrawFn, cast: _Cast, numbers: _Numbers) -> list[ApplicationEvent]:
    made = []
    for source in draw(st.lists(st.sampled_from(list(cast.vacancy_of)), max_size=3)):
        same = [other for other, vacancy in cast.vacancy_of.items() if vacancy == cast.vacancy_of[source]]
        target = draw(st.sampled_from((*same, *same, "stranger")))
        made.append(_event(cast, source, numbers.next(), "merged", draw(instants()), merged_into=target))
    return made


@st.composite
def _voids(
    draw: st.DrawFn, cast: _Cast, ids: Sequence[str], records: Sequence[Any], numbers: _Numbers
) -> list[ApplicationEvent]:
    known = [record.event_id for record in records if isinstance(record, ApplicationEvent)]
    made = []
    for is_correction in draw(st.lists(st.booleans(), max_size=3)):
        target = draw(st.sampled_from((*known, "never-seen")))
        made.append(
            _event(
                cast,
                draw(st.sampled_from(ids)),
                numbers.next(),
                draw(st.sampled_from(KINDS)),
                draw(instants()),
                **{"corrects" if is_correction else "voids": target},
            )
        )
        known.append(made[-1].event_id)
    return made


@st.composite
def _vacancy_events(draw: st.DrawFn, cast: _Cast, numbers: _Numbers) -> list[VacancyEvent]:
    kinds = st.sampled_from(("opened", "updated", "closed", "withdrawn", "withdrawn", "reopened"))
    return [
        VacancyEvent(
            event_id=numbers.next(),
            event_type=kind,
            event_time=(at := draw(instants())),
            observed_time=at,
            source_system="test",
            organisation=cast.organisation,
            vacancy_id=vacancy,
            longlisting_used=draw(st.sampled_from((None, None, True, False))),
        )
        for vacancy in cast.vacancies
        for kind in draw(st.lists(kinds, max_size=4))
    ]


@st.composite
def _erasure(draw: st.DrawFn, cast: _Cast, numbers: _Numbers) -> ApplicationEvent:
    application_id = draw(st.sampled_from((*cast.vacancy_of, "stranger")))
    return _event(cast, application_id, numbers.next(), "erased", draw(instants()))


def _others(cast: _Cast, numbers: _Numbers) -> list[Any]:
    vacancy = cast.vacancies[0]
    counts = [TableCount("nhs_stated_gender", "1", None, 7), TableCount(None, None, "not_asked", 1)]
    return [
        VacancyEqualityTable(numbers.next(), cast.organisation, vacancy, EARLIEST_MS, "applied", "sex", counts, "test"),
        AlertAction(numbers.next(), EARLIEST_MS, cast.organisation, "series-1", "acknowledge"),
    ]


@st.composite
def _with_loading(draw: st.DrawFn, names: Sequence[str], records: list[Any]) -> list[Any]:
    """Put a stretch of loading of one organisation around some of the records, closed or left open."""
    if draw(st.integers(0, 3)):
        return records
    organisation = draw(st.sampled_from(names))
    begin = draw(st.integers(0, len(records)))
    end = draw(st.integers(begin, len(records)))
    made = [Control(f"c-{kind}", LATEST_MS, organisation, kind) for kind in ("loading", "caught_up")]
    closing = made[1:] if draw(st.booleans()) else []
    return [*records[:begin], made[0], *records[begin:end], *closing, *records[end:]]


@st.composite
def timelines(draw: st.DrawFn, *, organisations: int = 2) -> list[tuple[Any, int]]:
    """Draw records with their append times that run into the cut-offs, which ``histories`` avoids.

    Months pass between records and ticks; events come late, too late or from the future; applications leave and are
    heard of again; backfills begin and end, with events older than any live organisation could send.

    Returns:
        (record, append time in milliseconds) in the order of arrival; ticks have no organisation and go everywhere.
    """
    names = ORGANISATIONS[: draw(st.integers(1, organisations))]
    casts = [_Cast(name, ("v1",), {"a1": "v1", "b1": "v1", "c9": None}) for name in names]
    numbers = _Numbers("")
    now = EARLIEST_MS
    made: list[tuple[Any, int]] = []
    for _ in range(draw(st.integers(3, 25))):
        now += draw(st.sampled_from((0, 0, HOUR_MS, DAY_MS, 30 * DAY_MS, 200 * DAY_MS, 399 * DAY_MS, 401 * DAY_MS)))
        cast = draw(st.sampled_from(casts))
        what = draw(st.sampled_from(("event", "event", "event", "tick", "tick", "control", "answers", "vacancy")))
        late = draw(st.sampled_from((-1, 0, 0, 0, 1, 30, 399, 400, 401, 700))) * DAY_MS
        at = now - late + draw(st.sampled_from((0, 0, 1, -1)))
        if what == "event":
            application_id = draw(st.sampled_from(sorted(cast.vacancy_of)))
            kind = draw(st.sampled_from((*KINDS, "merged", "erased")))
            target = draw(st.sampled_from(("a1", "b1", "stranger"))) if kind == "merged" else None
            made.append((_event(cast, application_id, numbers.next(), kind, at, merged_into=target), now))
        elif what == "tick":
            made.append((Tick(now // 60_000), now))
        elif what == "control":
            kind = draw(st.sampled_from(("loading", "caught_up", "caught_up")))
            made.append((Control(numbers.next(), now, cast.organisation, kind), now))
        elif what == "answers":
            answers = draw(_one_answer_each())
            record = EqualityAnswers(
                *(numbers.next(), at, cast.organisation, "a1", "given", "application", answers, "test")
            )
            made.append((record, now))
        else:
            kind = draw(st.sampled_from(("opened", "withdrawn", "reopened")))
            record = VacancyEvent(*(numbers.next(), kind, at, at, "test", cast.organisation, "v1"))
            made.append((record, now))
    return made
