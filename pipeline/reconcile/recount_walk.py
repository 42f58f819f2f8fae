"""One walk through the sorted events of an application: which stages it reached and how it ended.

Part of the independent recount: these rules are written a second time on purpose and share nothing with the
agents.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

PATHWAY: Final = ("applied", "longlisted", "shortlisted", "interviewed", "offered", "accepted", "started")
NEGATIVE: Final = {
    "rejected": "not_selected",
    "reserved": "not_selected",
    "offer_withdrawn": "not_selected",
    "withdrawn": "withdrew",
    "did_not_attend": "withdrew",
    "offer_declined": "withdrew",
}
_POSITIVE: Final = {
    "longlisted": "longlisted",
    "shortlisted": "shortlisted",
    "offered": "offered",
    "offer_accepted": "accepted",
    "started": "started",
}
_IMPLIES: Final[Mapping[str, tuple[str, ...]]] = {
    "interview_invited": ("shortlisted",),
    "interviewed": ("shortlisted",),
    "did_not_attend": ("shortlisted",),
    "offered": ("shortlisted",),
    "offer_accepted": ("shortlisted", "offered"),
    "started": ("shortlisted", "offered"),
}
_REFUSAL_IMPLIES: Final[Mapping[str, tuple[str, ...]]] = {
    "interviewed": ("shortlisted",),
    "offered": ("shortlisted",),
    "accepted": ("shortlisted", "offered"),
    "started": ("shortlisted", "offered"),
}
_BEFORE_OFFER: Final = ("applied", "longlisted", "shortlisted", "interview_invited", "interviewed")
_FROM_OFFER: Final = ("offered", "offer_accepted", "start_booked", "cleared", "started", "inducted")
_ENDINGS: Final = ("reserved", "did_not_attend", "rejected", "withdrawn", "offer_declined", "offer_withdrawn")
_UNDOING: Final = ("reinstated", "hire_undone")
_SAME_INSTANT: Final = {kind: rank for rank, kind in enumerate((*_BEFORE_OFFER, *_FROM_OFFER, *_ENDINGS, *_UNDOING))}
"""What happened at the same millisecond is read in the order of the pathway; all other kinds come last."""


class Happening(NamedTuple):
    """The part of an application event that can decide anything."""

    application_id: str
    event_time: int
    event_type: str
    event_id: str
    action_id: str | None
    stage: str | None
    voided: tuple[str, ...]
    merged_into: str | None
    vacancy_id: str | None


def order(happening: Happening) -> tuple[int, int, str]:
    """Return the sort key of the one order in which everything is read."""
    rank = _SAME_INSTANT.get(happening.event_type, len(_SAME_INSTANT))
    return (happening.event_time, rank, happening.event_id)


class Reached(NamedTuple):
    """A stage that was reached: on which day, and whether only a later stage says so."""

    day: int
    is_implied: bool


class Ending(NamedTuple):
    """A negative decision that stands: its outcome, the stage it refuses, and when."""

    outcome: str
    refused: str
    event_time: int
    day: int


@dataclass(slots=True)
class Walk:
    """Where the walk through the sorted events stands."""

    day_of: Callable[[int], int]
    has_longlist: bool
    reached: dict[str, Reached] = field(default_factory=dict)
    ending: Ending | None = None
    onboarding_ending: Ending | None = None
    offer_day: int | None = None

    def take(self, happening: Happening) -> None:
        """Read the next event."""
        kind, day = happening.event_type, self.day_of(happening.event_time)
        if kind in _POSITIVE:
            self._go_on(_POSITIVE[kind], happening, day)
        elif kind in NEGATIVE:
            self._end(happening, day)
        elif kind in ("interview_invited", "interviewed"):
            self._imply(_IMPLIES[kind], day)
            if kind == "interviewed":
                self.reached.setdefault("interviewed", Reached(day, is_implied=False))
        elif kind == "reinstated":
            self.ending = self.onboarding_ending = None
        elif kind == "hire_undone":
            self.reached.pop("accepted", None)
            self.reached.pop("started", None)
            self.ending = self.onboarding_ending = None

    def furthest(self) -> int:
        """Return the place of the furthest stage reached; an interview is an arrival and no stage."""
        return max(PATHWAY.index(stage) for stage in self.reached if stage != "interviewed")

    def _imply(self, stages: Iterable[str], day: int) -> None:
        for stage in stages:
            self.reached.setdefault(stage, Reached(day, is_implied=True))

    def _go_on(self, stage: str, happening: Happening, day: int) -> None:
        ending = self.ending
        if ending is not None and happening.event_time > ending.event_time:
            is_new_offer = stage == "offered" and ending.refused == "accepted"
            if is_new_offer or PATHWAY.index(stage) > self.furthest():
                self.ending = None
            if is_new_offer:
                self.offer_day = day
        dropped = self.onboarding_ending
        if stage == "started" and dropped is not None and happening.event_time > dropped.event_time:
            self.onboarding_ending = None
        self._imply(_IMPLIES.get(happening.event_type, ()), day)
        if stage not in self.reached or self.reached[stage].is_implied:
            self.reached[stage] = Reached(day, is_implied=False)

    def _end(self, happening: Happening, day: int) -> None:
        kind, stage = happening.event_type, happening.stage
        if kind == "reserved" and "shortlisted" not in self.reached:
            return
        self._imply(_IMPLIES.get(kind, ()), day)
        outcome = NEGATIVE[kind]
        if "accepted" in self.reached:
            is_open = self.onboarding_ending is None and "started" not in self.reached
            if is_open and kind != "reserved":
                self.onboarding_ending = Ending(outcome, "started", happening.event_time, day)
            return
        refused = self._refused(stage)
        if stage is not None:
            self._imply(_REFUSAL_IMPLIES.get(stage, ()), day)
        if self.ending is None:
            self.ending = Ending(outcome, refused, happening.event_time, day)

    def _refused(self, given: str | None) -> str:
        """Return the stage that a negative decision before acceptance refuses.

        A stage is passed as soon as a later one is reached: who was shortlisted without a longlist cannot be
        refused there. Nobody can be refused the start before accepting: that refuses acceptance.
        """
        furthest = self.furthest()
        if given is not None and given not in self.reached and PATHWAY.index(given) > furthest:
            return "accepted" if given == "started" else given
        mandatory = (*(("longlisted",) if self.has_longlist else ()), "shortlisted", "offered", "accepted")
        return next((stage for stage in mandatory if PATHWAY.index(stage) > furthest), "accepted")
