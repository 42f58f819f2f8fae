"""Facts of one application: its events, voided event ids, last answers, and the applications linked to it.

Facts only grow, and adding the same thing twice changes nothing: hence order and repetition of the input do not matter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.domain.codes import CHARACTERISTICS, UNKNOWN_NOT_KNOWN, group_of
from pipeline.domain.records import ApplicationEvent, EqualityAnswers, new
from pipeline.domain.state import ApplicationState

EVENT_CODE_BYTES = 6
COLLECTED_LATER = 128
NOTHING_VOIDED = frozenset[str]()
WITHDRAWN_GROUP = group_of(None, None, "withdrawn")
NO_ANSWERS = (UNKNOWN_NOT_KNOWN,) * len(CHARACTERISTICS)

KINDS = (
    "applied",
    "longlisted",
    "shortlisted",
    "interview_invited",
    "interviewed",
    "offered",
    "offer_accepted",
    "start_booked",
    "cleared",
    "started",
    "inducted",
    "reserved",
    "did_not_attend",
    "rejected",
    "withdrawn",
    "offer_declined",
    "offer_withdrawn",
    "reinstated",
    "hire_undone",
    "merged",
    "noted",
)
"""Event types in the order in which events of the same moment count: progress first, then endings, then undoing.

``noted`` stands for every type that decides nothing: such an event still is evidence that the application exists.
"""

KIND_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
MERGED, NOTED = KIND_RANK["merged"], KIND_RANK["noted"]
STAGES = (None, "longlisted", "shortlisted", "interviewed", "offered", "accepted", "started")
METHODS = (None, "human", "rule", "ai_assisted", "ai")
ROUTES = (None, "direct", "internal", "international", "agency", "bank_conversion")
TRISTATE = (None, False, True)

_STAGE_CODE = {stage: code for code, stage in enumerate(STAGES)}
_METHOD_CODE = {method: code for code, method in enumerate(METHODS)}
_ROUTE_CODE = {route: code for code, route in enumerate(ROUTES)}
_TRISTATE_CODE = {None: 0, False: 1, True: 2}
_CHARACTERISTIC_CODE = {name: code for code, name in enumerate(CHARACTERISTICS)}
_CODES = range(len(CHARACTERISTICS))
_FLAG_BASE = 3


class StageEvent(NamedTuple):
    """An event as kept: sorts by (time, kind rank, id), the order in which events count; codes index the tuples."""

    time: int
    rank: int
    event_id: str
    stage: int
    method: int
    route: int
    flags: int
    vacancy: str
    action: str
    target: str

    @property
    def internal(self) -> bool | None:
        """Whether the source called the applicant internal."""
        return TRISTATE[self.flags % _FLAG_BASE]

    @property
    def guaranteed_interview(self) -> bool | None:
        """Whether the source applied the guaranteed-interview scheme."""
        return TRISTATE[self.flags // _FLAG_BASE]


class KeptAnswer(NamedTuple):
    """The last answer for one characteristic, ordered by (event time, event id)."""

    time: int
    event_id: str
    group: str


@dataclass(slots=True)
class ApplicationFacts:
    """All that is known of one application.

    ``answers`` maps the code of a characteristic (plus ``COLLECTED_LATER``) to its last answer. ``cluster`` lists every
    application ever linked with this one by a merge, itself included; empty when there was none. ``vacancies`` are
    those that its events name, sorted. All of this stays as it was made (a frozen class would take twice as long to
    make); ``counted_as`` is no fact but what these facts, or the ones they grew from, were last counted as
    (``clusters.py``), so that one more event need not be counted from the first.
    """

    last_event: int = 0
    events: tuple[StageEvent, ...] = ()
    voided: frozenset[str] = NOTHING_VOIDED
    answers: dict[int, KeptAnswer] = field(default_factory=dict)
    cluster: tuple[str, ...] = ()
    vacancies: tuple[str, ...] = ()
    counted_as: Any = field(default=None, compare=False, repr=False)


def stage_event(event: ApplicationEvent) -> StageEvent:
    """Return the kept form of an event."""
    rank = KIND_RANK.get(event.event_type, NOTED)
    return new(
        StageEvent,
        (
            event.event_time,
            rank,
            event.event_id,
            _STAGE_CODE[event.stage],
            _METHOD_CODE[event.decision_method],
            _ROUTE_CODE[event.route],
            _TRISTATE_CODE[event.internal] + _FLAG_BASE * _TRISTATE_CODE[event.guaranteed_interview],
            event.vacancy_id or "",
            event.action_id or "",
            (event.merged_into or "") if rank == MERGED else "",
        ),
    )


def with_event(facts: ApplicationFacts, event: ApplicationEvent) -> ApplicationFacts:
    """Add an event, and what it corrects or voids; the same facts come back when they held all of it already."""
    events, voided = facts.events, facts.voided
    kept = stage_event(event)
    if kept not in events:
        events = (*events, kept) if not events or kept > events[-1] else tuple(sorted((*events, kept)))
    if event.corrects or event.voids:
        gone = {voids for voids in (event.corrects, event.voids) if voids}
        voided = voided if gone <= voided else voided | gone
    last_event = max(facts.last_event, event.event_time)
    if events is facts.events and voided is facts.voided and last_event == facts.last_event:
        return facts
    vacancies = facts.vacancies
    if kept.vacancy and kept.vacancy not in vacancies:
        vacancies = tuple(sorted((*vacancies, kept.vacancy)))
    return ApplicationFacts(last_event, events, voided, facts.answers, facts.cluster, vacancies, facts.counted_as)


def with_answers(facts: ApplicationFacts, record: EqualityAnswers) -> ApplicationFacts:
    """Add equality answers: per characteristic the last by (event time, event id) holds; an objection answers all."""
    later = 0 if record.collected_at == "application" else COLLECTED_LATER
    if record.status == "withdrawn":
        given = [
            (code + base, WITHDRAWN_GROUP) for base in (0, COLLECTED_LATER) for code in range(len(CHARACTERISTICS))
        ]
    else:
        given = [
            (
                _CHARACTERISTIC_CODE[answer.characteristic] + later,
                group_of(answer.codeset, answer.code, answer.unknown),
            )
            for answer in record.answers
        ]
    answers = dict(facts.answers)
    for code, group in given:
        kept = new(KeptAnswer, (record.event_time, record.event_id, group))
        if code not in answers or kept > answers[code]:
            answers[code] = kept
    last_event = max(facts.last_event, record.event_time)
    if answers == facts.answers and last_event == facts.last_event:
        return facts
    return ApplicationFacts(
        last_event, facts.events, facts.voided, answers, facts.cluster, facts.vacancies, facts.counted_as
    )


def groups_at_application(answers: Mapping[int, KeptAnswer]) -> tuple[str, ...]:
    """Return the group of each characteristic by answers collected at application, for steps up to appointment.

    Asking again at hire would change labels because of selection, so later answers do not count here.
    """
    if not answers:
        return NO_ANSWERS
    return tuple([answers[code].group if code in answers else UNKNOWN_NOT_KNOWN for code in _CODES])


def groups_at_any_time(answers: Mapping[int, KeptAnswer]) -> tuple[str, ...]:
    """Return the group of each characteristic by the last answer of any collection: it labels onboarding."""
    if max(answers, default=0) < COLLECTED_LATER:
        return groups_at_application(answers)
    return tuple(_latest_group(answers, code) for code in range(len(CHARACTERISTICS)))


def merge_answers(members: Iterable[ApplicationFacts]) -> dict[int, KeptAnswer]:
    """Return the last answer per characteristic over several applications that are one."""
    merged: dict[int, KeptAnswer] = {}
    for member in members:
        for code, kept in member.answers.items():
            if code not in merged or kept > merged[code]:
                merged[code] = kept
    return merged


def to_state(facts: ApplicationFacts) -> ApplicationState:
    """Return the stored form of facts."""
    position = {vacancy: number for number, vacancy in enumerate(("", *facts.vacancies))}
    times, event_ids, actions, targets = [], [], [], []
    codes: list[int] = []
    for time, rank, event_id, stage, method, route, flags, vacancy, action, target in facts.events:
        times.append(time)
        codes += (rank, stage, method, route, flags, position[vacancy])
        event_ids.append(event_id)
        actions.append(action)
        if rank == MERGED:
            targets.append(target)
    kept_sources = [(time, event_id) for time, event_id, _ in facts.answers.values()]
    sources = sorted(set(kept_sources))
    if len(sources) == 1:
        answer_codes = bytes([byte for code in facts.answers for byte in (code, 0)])
    else:
        numbers = [sources.index(source) for source in kept_sources]
        answer_codes = bytes([byte for pair in zip(facts.answers, numbers, strict=True) for byte in pair])
    return ApplicationState(
        facts.last_event,
        facts.vacancies,
        times,
        bytes(codes),
        event_ids,
        actions if any(actions) else [],
        targets,
        sorted(facts.voided),
        answer_codes,
        [kept.group for kept in facts.answers.values()],
        [time for time, _ in sources],
        [event_id for _, event_id in sources],
        facts.cluster,
    )


def from_state(state: ApplicationState) -> ApplicationFacts:
    """Return the facts of a stored form."""
    vacancies = ("", *state.vacancies)
    actions = state.event_actions or [""] * len(state.event_times)
    targets = iter(state.merge_targets)
    codes, events = state.event_codes, []
    for number, (time, event_id, action) in enumerate(zip(state.event_times, state.event_ids, actions, strict=True)):
        at = number * EVENT_CODE_BYTES
        rank, stage, method, route, flags, vacancy = codes[at : at + EVENT_CODE_BYTES]
        target = next(targets) if rank == MERGED else ""
        kept = (time, rank, event_id, stage, method, route, flags, vacancies[vacancy], action, target)
        events.append(new(StageEvent, kept))
    pairs, answers = state.answer_codes, {}
    for number, group in enumerate(state.answer_groups):
        source = pairs[2 * number + 1]
        answers[pairs[2 * number]] = new(KeptAnswer, (state.source_times[source], state.source_ids[source], group))
    return ApplicationFacts(
        state.last_event,
        tuple(events),
        frozenset(state.voided) or NOTHING_VOIDED,
        answers,
        tuple(state.cluster),
        tuple(state.vacancies),
    )


def _latest_group(answers: Mapping[int, KeptAnswer], code: int) -> str:
    kept = [answers[key] for key in (code, code + COLLECTED_LATER) if key in answers]
    return max(kept).group if kept else UNKNOWN_NOT_KNOWN
