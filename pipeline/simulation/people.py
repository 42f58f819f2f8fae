"""Applicants: what they are, what they answer, and how well they do.

Shares follow what NHS employers publish about applicants: **Source:** domain research, volumes table (NHS
Digital pay gaps 2021-22: disability declared by 6 % with 7 % undisclosed; workforce and applicant mix of
England 2022-24); the remaining lists are plausible and no more.
"""

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

from pipeline.domain.codes import CHARACTERISTICS, group_of
from pipeline.domain.records import Answer
from pipeline.simulation.plan import Disparity


class Choice(NamedTuple):
    """A list of values with their cumulated shares."""

    answers: tuple[Answer, ...]
    groups: tuple[str, ...]
    cumulated: tuple[float, ...]

    def draw(self, random: Random) -> int:
        """Return the index of a value."""
        return bisect(self.cumulated, random.random() * self.cumulated[-1])


def _choice(characteristic: str, codeset: str, shares: Mapping[str, float]) -> Choice:
    answers = tuple(Answer(characteristic, codeset, code) for code in shares)
    return Choice(
        answers,
        tuple(group_of(a.codeset, a.code, None) for a in answers),
        tuple(accumulate(shares.values())),
    )


_ETHNICITY: Final = {
    "A": 46, "B": 1, "C": 8, "D": 1, "E": 1, "F": 1, "G": 1, "H": 9, "J": 4, "K": 2, "L": 5, "M": 2, "N": 13, "P": 1,
    "R": 2, "S": 3,
}  # fmt: skip
_AGE: Final = {"16-24": 17, "25-34": 38, "35-44": 24, "45-54": 14, "55-64": 6.5, "65+": 0.5}
_RELIGION: Final = {"A": 0.1, "B": 1, "C": 48, "D": 5, "E": 0.2, "F": 0.3, "G": 14, "H": 0.3, "I": 1.5, "K": 3, "L": 26}
_MARITAL: Final = {"S": 50, "M": 39, "D": 6, "W": 1, "P": 4}

CHOICES: Final[tuple[Choice, ...]] = (
    _choice("ethnicity", "nhs_ethnic_category", _ETHNICITY),
    _choice("disability", "nhs_disability", {"no": 94, "yes": 6}),
    _choice("sex", "nhs_stated_gender", {"2": 71, "1": 29}),
    _choice("gender_reassignment", "yes_no", {"no": 99.5, "yes": 0.5}),
    _choice("age", "age_band", _AGE),
    _choice("religion", "nhs_religion", _RELIGION),
    _choice("sexual_orientation", "nhs_sexual_orientation", {"1": 94, "2": 2.5, "3": 2.5, "4": 1}),
    _choice("marital_status", "nhs_marital_status", _MARITAL),
    _choice("pregnancy_maternity", "yes_no", {"no": 97.5, "yes": 2.5}),
)
"""One list a characteristic, in the fixed order of the characteristics."""

_UNKNOWN_KINDS: Final = ("declined", "no_response", "not_asked", "not_known")
_UNKNOWN_CUMULATED: Final = (0.5, 0.8, 0.93, 1.0)
_UNKNOWN: Final = tuple(
    tuple(Answer(characteristic, unknown=kind) for kind in _UNKNOWN_KINDS) for characteristic in CHARACTERISTICS
)
_MEETS_ESSENTIAL: Final = 0.62
_UNQUALIFIED_WEIGHT: Final = 0.25
_SAID_LATER: Final = 0.5
_DISABILITY: Final = CHARACTERISTICS.index("disability")
_DISABLED: Final = CHOICES[_DISABILITY].groups.index(group_of("nhs_disability", "yes", None))


class Person(NamedTuple):
    """One applicant: ``values`` are the true ones (an index a characteristic), ``answers`` what was said."""

    values: tuple[int, ...]
    answers: tuple[Answer, ...]
    merit: float
    meets_essential: bool
    is_disabled: bool


def draw_person(random: Random, unknown: float) -> Person:
    """Return an applicant.

    Args:
        random: decides everything.
        unknown: share of answers that are missing.
    """
    values = tuple(choice.draw(random) for choice in CHOICES)
    answers = tuple(
        choice.answers[value] if random.random() >= unknown else _unknown(random, index)
        for index, (choice, value) in enumerate(zip(CHOICES, values, strict=True))
    )
    return Person(
        values=values,
        answers=answers,
        merit=random.lognormvariate(0.0, 0.5),
        meets_essential=random.random() < _MEETS_ESSENTIAL,
        is_disabled=values[_DISABILITY] == _DISABLED,
    )


def changed_answer(random: Random, person: Person) -> tuple[Answer, ...]:
    """Return one answer that the person gives differently later; mostly one that was missing."""
    missing = [i for i, answer in enumerate(person.answers) if answer.unknown is not None]
    index = random.choice(missing) if missing else random.randrange(len(CHOICES))
    choice = CHOICES[index]
    return (choice.answers[person.values[index] if missing else choice.draw(random)],)


def asked_again(random: Random, person: Person) -> tuple[Answer, ...]:
    """Return what a new starter answers when asked again: half of what was missing is said now."""
    return tuple(
        choice.answers[value] if answer.unknown is not None and random.random() < _SAID_LATER else answer
        for choice, value, answer in zip(CHOICES, person.values, person.answers, strict=True)
    )


def weight_of(person: Person, disparities: tuple[Disparity, ...]) -> float:
    """Return how often the person counts in a draw: merit, criteria, and the injected disparities of the step."""
    weight = person.merit * (1.0 if person.meets_essential else _UNQUALIFIED_WEIGHT)
    for disparity in disparities:
        index = CHARACTERISTICS.index(disparity.characteristic)
        if CHOICES[index].groups[person.values[index]] in disparity.groups:
            weight *= disparity.weight
    return weight


def _unknown(random: Random, index: int) -> Answer:
    return _UNKNOWN[index][bisect(_UNKNOWN_CUMULATED, random.random())]
