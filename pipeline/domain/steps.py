"""What an application contributes to the counts: arrivals at stages and outcomes of steps, from its events alone.

**Source:** the outcome table of the design (decision form: resolved outcomes by the day of the decision). The fold
reads events in the order (time, kind rank, id) and keeps three things: the stages reached, at most one ending, at
most one ending of the onboarding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pipeline.domain.facts import KIND_RANK, METHODS, STAGES, StageEvent
from pipeline.domain.records import Contribution, new

ONBOARDING_HORIZON_DAYS = 180
"""An onboarding that resolves later than this after acceptance is left out: entry cohorts need one fixed horizon."""

SELECTED, NOT_SELECTED, WITHDREW, VOID = "selected", "not_selected", "withdrew", "void"
STEPS = ("longlisting", "shortlisting", "interview", "offer", "appointment", "onboarding", "overall")
ARRIVALS = ("applied", "longlisted", "shortlisted", "interviewed", "offered", "accepted", "started")
ONBOARDING_NAMES = frozenset({("outcome", "onboarding"), ("arrival", "started")})
"""Contributions that are labelled by the last answer of any collection instead of those given at application."""


class Stage(IntEnum):
    """The pathway in order; ``interviewed`` is an arrival that ends no step and stands outside it."""

    APPLIED = 0
    LONGLISTED = 1
    SHORTLISTED = 2
    OFFERED = 3
    ACCEPTED = 4
    STARTED = 5


class Reached(NamedTuple):
    """When a stage was reached first, and whether only a later stage says so."""

    at: int
    implied: bool
    method: int


class Ending(NamedTuple):
    """The decision that stopped an application: its outcome, the stage it refused, when and how it was made."""

    outcome: str
    refused: Stage
    at: int
    method: int


@dataclass(frozen=True, slots=True)
class VacancyFacts:
    """What of a vacancy decides outcomes: whether it longlists, and since when it is withdrawn (ms), if it is."""

    longlisting_used: bool = False
    withdrawn_at: int | None = None


_R = KIND_RANK
_POSITIVE = {
    _R["longlisted"]: Stage.LONGLISTED,
    _R["shortlisted"]: Stage.SHORTLISTED,
    _R["offered"]: Stage.OFFERED,
    _R["offer_accepted"]: Stage.ACCEPTED,
    _R["started"]: Stage.STARTED,
}
_ENDINGS = {
    _R["rejected"]: NOT_SELECTED,
    _R["reserved"]: NOT_SELECTED,
    _R["offer_withdrawn"]: NOT_SELECTED,
    _R["withdrawn"]: WITHDREW,
    _R["did_not_attend"]: WITHDREW,
    _R["offer_declined"]: WITHDREW,
}
NEGATIVE_RANKS = frozenset(_ENDINGS)
IDLE_RANKS = frozenset({_R["start_booked"], _R["cleared"], _R["inducted"], _R["merged"], _R["noted"]})
"""Events that move no pathway."""
_IMPLIES_SHORTLISTED = frozenset({_R["interview_invited"], _R["interviewed"], _R["did_not_attend"]})
_APPLIED, _INTERVIEWED, _RESERVED = _R["applied"], _R["interviewed"], _R["reserved"]
_REINSTATED, _HIRE_UNDONE = _R["reinstated"], _R["hire_undone"]
_REFUSED_STAGE = {
    "longlisted": Stage.LONGLISTED,
    "shortlisted": Stage.SHORTLISTED,
    "interviewed": Stage.OFFERED,  # refused at or before the interview: shortlisted, and no offer
    "offered": Stage.OFFERED,
    "accepted": Stage.ACCEPTED,
    "started": Stage.ACCEPTED,  # nobody is refused the start before accepting
}
_REFUSED_BY_CODE = tuple(None if name is None else _REFUSED_STAGE[name] for name in STAGES)
_ARRIVAL_NAME = {stage: ARRIVALS[stage if stage <= Stage.SHORTLISTED else stage + 1] for stage in Stage}


class Pathway:
    """The fold of one application's events; read its contributions when all events are in."""

    __slots__ = ("applied_at", "ending", "interviewed", "latest_offer", "onboarding_ending", "reached", "vacancy")

    def __init__(self, vacancy: VacancyFacts) -> None:
        self.vacancy = vacancy
        self.reached: dict[Stage, Reached] = {}
        self.ending: Ending | None = None
        self.onboarding_ending: Ending | None = None
        self.latest_offer = 0
        self.interviewed: StageEvent | None = None
        self.applied_at: int | None = None

    def copy(self) -> "Pathway":
        """Return a pathway that goes on from here."""
        other = Pathway(self.vacancy)
        other.reached = self.reached.copy()
        other.ending, other.onboarding_ending = self.ending, self.onboarding_ending
        other.latest_offer, other.interviewed, other.applied_at = self.latest_offer, self.interviewed, self.applied_at
        return other

    def add(self, event: StageEvent) -> None:
        """Fold the next event in order."""
        rank = event.rank
        stage = _POSITIVE.get(rank)
        if stage is not None:
            self._progress(stage, event)
        elif rank in _ENDINGS:
            self._end(event)
        elif rank == _REINSTATED:
            self.ending = self.onboarding_ending = None
        elif rank == _HIRE_UNDONE:
            self.reached.pop(Stage.ACCEPTED, None)
            self.reached.pop(Stage.STARTED, None)
            self.ending = self.onboarding_ending = None
        elif rank in _IMPLIES_SHORTLISTED:
            self._imply(Stage.SHORTLISTED, event)
            if rank == _INTERVIEWED and self.interviewed is None:
                self.interviewed = event
        elif rank == _APPLIED and self.applied_at is None:
            self.applied_at = event.time

    def _imply(self, stage: Stage, event: StageEvent) -> None:
        """Mark shortlisted, and for ``offered`` both, as reached because a later stage says so."""
        for implied in (Stage.SHORTLISTED, Stage.OFFERED):
            if implied <= stage and implied not in self.reached:
                self.reached[implied] = new(Reached, (event.time, True, 0))

    def _progress(self, stage: Stage, event: StageEvent) -> None:
        ending = self.ending
        if ending is not None and event.time > ending.at:
            renewed_offer = stage is Stage.OFFERED and ending.refused is Stage.ACCEPTED
            if renewed_offer or stage > max(self.reached, default=Stage.APPLIED):
                self.ending = None
            if renewed_offer:
                self.latest_offer = event.time
        if stage is Stage.STARTED and self.onboarding_ending is not None and event.time > self.onboarding_ending.at:
            self.onboarding_ending = None
        if stage > Stage.SHORTLISTED:
            self._imply(Stage.OFFERED if stage > Stage.OFFERED else Stage.SHORTLISTED, event)
        known = self.reached.get(stage)
        if known is None or known.implied:
            self.reached[stage] = new(Reached, (event.time, False, event.method))

    def _end(self, event: StageEvent) -> None:
        outcome = _ENDINGS[event.rank]
        if Stage.ACCEPTED in self.reached:
            if event.rank != _RESERVED and Stage.STARTED not in self.reached and self.onboarding_ending is None:
                self.onboarding_ending = Ending(outcome, Stage.STARTED, event.time, event.method)
            return
        if event.rank in _IMPLIES_SHORTLISTED:
            self._imply(Stage.SHORTLISTED, event)
        if event.rank == _RESERVED and Stage.SHORTLISTED not in self.reached:
            return
        given = _REFUSED_BY_CODE[event.stage]
        refused = self._refused(given)
        if given is not None and given > Stage.SHORTLISTED:
            self._imply(Stage.OFFERED if given > Stage.OFFERED else Stage.SHORTLISTED, event)
        if self.ending is None:
            self.ending = Ending(outcome, refused, event.time, event.method)

    def _refused(self, given: Stage | None) -> Stage:
        """Return the stage that a negative decision refuses: the one it names, else the next mandatory one.

        A stage is passed as soon as a later one is reached: who was shortlisted without a longlist is not refused
        there.
        """
        furthest = max(self.reached, default=Stage.APPLIED)
        if given is not None and given > furthest:
            return given
        if self.vacancy.longlisting_used and furthest < Stage.LONGLISTED:
            return Stage.LONGLISTED
        return max(Stage.SHORTLISTED, Stage(min(furthest + 1, Stage.ACCEPTED)))


def contributions(
    events: Sequence[StageEvent], vacancy: VacancyFacts, day_of: Callable[[int], int]
) -> list[Contribution]:
    """Return all that one application adds to the counts.

    Args:
        events: its events that are not voided, in their natural order, at least one; of events that share an action
            id and a type only the first counts.
        vacancy: what its vacancy decides.
        day_of: the local day of a moment in milliseconds.
    """
    return settled(walk(events, vacancy), events[0].time, day_of)


def walk(events: Sequence[StageEvent], vacancy: VacancyFacts) -> Pathway:
    """Return the pathway that events make; the arguments are those of ``contributions``."""
    pathway = Pathway(vacancy)
    seen_actions: set[tuple[str, int]] = set()
    for event in events:
        if event.action:
            if (event.action, event.rank) in seen_actions:
                continue
            seen_actions.add((event.action, event.rank))
        pathway.add(event)
    return pathway


def settled(pathway: Pathway, first_time: int, day_of: Callable[[int], int]) -> list[Contribution]:
    """Return what a pathway adds to the counts; without an event of applying, the first event's time stands for it."""
    applied_at = first_time if pathway.applied_at is None else pathway.applied_at
    pathway.reached[Stage.APPLIED] = new(Reached, (applied_at, False, 0))
    return [*_arrivals(pathway, day_of), *_outcomes(pathway, day_of)]


def _arrivals(pathway: Pathway, day_of: Callable[[int], int]) -> list[Contribution]:
    arrivals = []
    for stage, (at, implied, _) in pathway.reached.items():
        day = day_of(at)
        arrivals.append(new(Contribution, ("arrival", _ARRIVAL_NAME[stage], "", day, day, at, implied, None)))
    if pathway.interviewed is not None:
        day = day_of(pathway.interviewed.time)
        arrivals.append(Contribution("arrival", "interviewed", "", day, day, pathway.interviewed.time))
    return arrivals


def _outcomes(pathway: Pathway, day_of: Callable[[int], int]) -> list[Contribution]:
    """Return the resolved outcomes; what is pending contributes nothing."""
    reached, ending, vacancy = pathway.reached, pathway.ending, pathway.vacancy
    applied = reached[Stage.APPLIED].at
    shortlisted, offered = reached.get(Stage.SHORTLISTED), reached.get(Stage.OFFERED)
    accepted = reached.get(Stage.ACCEPTED)
    found: list[Contribution] = []

    def settle(step: str, entry: int, success: Reached | None) -> None:
        """Count a step that was entered: success, else the ending, else void when the vacancy was withdrawn."""
        if success is not None:
            if not success.implied:
                found.append(_outcome(step, SELECTED, success.at, entry, success.method, day_of))
        elif ending is not None:
            found.append(_outcome(step, ending.outcome, ending.at, entry, ending.method, day_of))
        elif vacancy.withdrawn_at is not None:
            found.append(_outcome(step, VOID, max(vacancy.withdrawn_at, entry), entry, 0, day_of))

    if _has_longlisting(pathway):
        settle("longlisting", applied, reached.get(Stage.LONGLISTED))
    settle("shortlisting", applied, shortlisted)
    if shortlisted is not None and not shortlisted.implied:
        settle("interview", shortlisted.at, offered)
        settle("appointment", shortlisted.at, accepted)
    is_offer_settled = accepted is not None or ending is None or ending.refused is Stage.ACCEPTED
    if offered is not None and not offered.implied and is_offer_settled:
        settle("offer", max(offered.at, pathway.latest_offer), accepted)
    settle("overall", applied, accepted)
    if accepted is not None:
        found += _onboarding(pathway, accepted, day_of)
    return found


def _has_longlisting(pathway: Pathway) -> bool:
    """Say whether the longlisting step counts this person: a decision names it, or it is used and still ahead."""
    if Stage.LONGLISTED in pathway.reached:
        return True
    if pathway.ending is not None:
        return pathway.ending.refused is Stage.LONGLISTED
    return pathway.vacancy.longlisting_used and len(pathway.reached) == 1


def _onboarding(pathway: Pathway, accepted: Reached, day_of: Callable[[int], int]) -> list[Contribution]:
    """Return the outcome of onboarding; what resolves beyond the horizon counts nothing."""
    started, ending = pathway.reached.get(Stage.STARTED), pathway.onboarding_ending
    withdrawn_at = pathway.vacancy.withdrawn_at
    if started is not None:
        outcome, at, method = SELECTED, started.at, started.method
    elif ending is not None:
        outcome, at, method = ending.outcome, ending.at, ending.method
    elif withdrawn_at is not None:
        outcome, at, method = VOID, max(withdrawn_at, accepted.at), 0
    else:
        return []
    if day_of(at) - day_of(accepted.at) > ONBOARDING_HORIZON_DAYS:
        return []
    return [_outcome("onboarding", outcome, at, accepted.at, method, day_of)]


def _outcome(step: str, outcome: str, at: int, entry: int, method: int, day_of: Callable[[int], int]) -> Contribution:
    return new(Contribution, ("outcome", step, outcome, day_of(at), day_of(entry), at, False, METHODS[method]))
