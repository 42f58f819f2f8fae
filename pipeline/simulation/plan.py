"""What is simulated: how much, how untidy, and which disparities are put in on purpose."""

from dataclasses import dataclass, field
from typing import Final

from pipeline.domain.codes import CHARACTERISTICS
from pipeline.errors import PipelineError, TerminalError
from pipeline.reference import resolve_group

DAY_MS: Final = 86_400_000
YEAR_DAYS: Final = 365

SELECTING_STEPS: Final = ("longlisting", "shortlisting", "interview")
"""Steps in which applicants of a vacancy compete, so that a weight means something."""

_SHARES: Final = (
    "duplicates",
    "disorder",
    "late_answers",
    "changed_answers",
    "withdrawals",
    "reinstatements",
    "corrections",
    "merges",
    "erasures",
    "objections",
    "unknown",
    "withdrawn_vacancies",
)


class DisparityTextError(TerminalError):
    """A disparity option cannot be read."""

    def __init__(self, text: str, problem: str) -> None:
        self.text = text
        super().__init__(
            f"expected a disparity as characteristic/group/step=weight, for example ethnicity/BME/shortlisting=0.6 or "
            f"sex/women/interview=0.8@SIM-R03; found {text!r}: {problem}"
        )


class SimulationSettingError(TerminalError):
    """A setting of the simulation makes no sense."""

    def __init__(self, name: str, expected: str, found: object) -> None:
        self.name = name
        super().__init__(f"simulation, {name}: expected {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Disparity:
    """One injected disparity: members of ``groups`` count ``weight`` times in the draw of ``step``.

    The true group decides, whatever a person answered or did not. With many applicants for few places the
    ratio of selection rates comes close to the weight; with few it stays nearer to 1.
    """

    characteristic: str
    groups: frozenset[str]
    step: str
    weight: float
    organisation: str | None = None


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """What is simulated. Shares are between 0 and 1, of what their names say.

    Attributes:
        start: first moment, milliseconds since 1970 in UTC. days: length; None never ends. organisations: how
        many employers; the first are the largest. vacancies: adverts a year of all employers together. A
        quarter of a per cent of England's is one small ICB. disparities: what is injected. duplicates:
        records delivered twice. disorder: records delivered up to three days after their neighbours.
        late_answers: equality answers given days after the application. changed_answers: applicants who
        correct an answer later. withdrawals: applicants who withdraw before the sift, and again before the
        interview. reinstatements: rejected applicants who are taken back. corrections: decisions that were
        entered wrongly and replaced. merges: people who applied twice and were merged. erasures: people who
        had their application erased. objections: people who object to the use of their answers. unknown:
        answers that are missing, of every characteristic. withdrawn_vacancies: adverts that are withdrawn
        before anybody is chosen.
    """

    seed: int
    start: int
    days: int | None = YEAR_DAYS
    organisations: int = 8
    vacancies: int = 10_000
    disparities: tuple[Disparity, ...] = field(default=())
    duplicates: float = 0.01
    disorder: float = 0.02
    late_answers: float = 0.05
    changed_answers: float = 0.01
    withdrawals: float = 0.03
    reinstatements: float = 0.004
    corrections: float = 0.003
    merges: float = 0.003
    erasures: float = 0.0005
    objections: float = 0.001
    unknown: float = 0.07
    withdrawn_vacancies: float = 0.02

    @property
    def end(self) -> int | None:
        """Return the end, exclusive, in milliseconds; None if there is none."""
        return None if self.days is None else self.start + self.days * DAY_MS

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            SimulationSettingError: a number is outside its range.
        """
        for name, least in (("start", 0), ("organisations", 1), ("vacancies", 1), ("days", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SimulationSettingError(name, f"a whole number of at least {least}", value)
        for name in _SHARES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SimulationSettingError(name, "a share between 0 and 1", value)
        names = organisation_names(self.organisations)
        for disparity in self.disparities:
            if disparity.organisation not in (None, *names):
                raise SimulationSettingError(
                    "disparities", f"an organisation from {names[0]} to {names[-1]}", disparity.organisation
                )


def organisation_names(count: int) -> list[str]:
    """Return the codes of the simulated employers: ``SIM-R01`` and so on."""
    return [f"SIM-R{number:02d}" for number in range(1, count + 1)]


def parse_disparity(text: str) -> Disparity:
    """Return the disparity of an option such as ``ethnicity/BME/shortlisting=0.6@SIM-R01``.

    Args:
        text: characteristic, group (a code, a label or a pooled name), step and weight; ``@organisation``
        restricts it.

    Raises:
        DisparityTextError: says what is wrong and what is accepted.
    """
    body, _, organisation = text.partition("@")
    path, equals, number = body.rpartition("=")
    parts = path.split("/")
    if not equals or len(parts) != len(("characteristic", "group", "step")):
        raise DisparityTextError(text, "three parts with / between them and a weight after = are needed")
    characteristic, word, step = (part.strip() for part in parts)
    if characteristic not in CHARACTERISTICS:
        raise DisparityTextError(text, f"the characteristics are {', '.join(CHARACTERISTICS)}")
    if step not in SELECTING_STEPS:
        raise DisparityTextError(text, f"applicants compete at the steps {', '.join(SELECTING_STEPS)}")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 100:  # noqa: PLR2004 - wider than any disparity worth a demonstration
        raise DisparityTextError(text, "the weight must be a number above 0 and at most 100; 1 changes nothing")
    try:
        groups = resolve_group(characteristic, word).groups
    except PipelineError as error:
        raise DisparityTextError(text, str(error)) from None
    return Disparity(characteristic, groups, step, weight, organisation.strip() or None)
