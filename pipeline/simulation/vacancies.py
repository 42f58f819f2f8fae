"""Vacancies: which kinds there are, how many apply, how long each stage takes, and when adverts appear.

**Source:** domain research, volumes table: 10 applications a vacancy overall, nursing 3, others about 14;
London's doctors 2.5 % from application to offer; 8 to 14 weeks from advert to start. Seasons are plausible
and no more.
"""

# ruff: noqa: PLR2004 - the numbers are the model: shares of what happens, named where they stand

from bisect import bisect
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import accumulate
from math import exp
from random import Random
from typing import Final, NamedTuple

from pipeline.domain.records import VacancyEvent
from pipeline.simulation.plan import DAY_MS, YEAR_DAYS, SimulationSettings, organisation_names

HOUR_MS: Final = 3_600_000


class Profile(NamedTuple):
    """A staff group: its share of vacancies, applicants, how many are shortlisted, and how they come."""

    staff_group: str
    share: float
    applicants: float
    shortlisted: float
    bands: tuple[str, ...]
    titles: tuple[str, ...]
    international: float


PROFILES: Final = (
    Profile("01", 6, 28, 0.16, ("medical",), ("Clinical Fellow", "Consultant", "Specialty Doctor"), 0.15),
    Profile("03", 30, 3.6, 0.62, ("5", "6", "7"), ("Staff Nurse", "Ward Sister", "Midwife"), 0.22),
    Profile("04", 8, 7, 0.42, ("5", "6", "7"), ("Physiotherapist", "Dietitian", "Radiographer"), 0.08),
    Profile("05", 4, 8, 0.38, ("6", "7", "8a"), ("Pharmacist", "Psychologist"), 0.05),
    Profile("06", 3, 8, 0.36, ("5", "6", "7"), ("Biomedical Scientist", "Audiologist"), 0.05),
    Profile("07", 18, 16, 0.28, ("2", "3", "4"), ("Healthcare Assistant", "Therapy Assistant"), 0.01),
    Profile("08", 22, 18, 0.22, ("3", "4", "6", "8a", "8c"), ("Administrator", "Team Lead", "Analyst"), 0.01),
    Profile("09", 7, 10, 0.40, ("2", "3"), ("Porter", "Domestic Assistant", "Catering Assistant"), 0.0),
    Profile("10", 2, 6, 0.45, ("4", "5"), ("Chaplain", "Play Specialist"), 0.0),
)
_PROFILE_CUMULATED: Final = tuple(accumulate(p.share for p in PROFILES))
_DIRECTORATES: Final = ("Medicine", "Surgery", "Women and Children", "Community", "Corporate", "Diagnostics", "Estates")
_MONTH_FACTORS: Final = (1.25, 1.05, 1.05, 0.95, 1.0, 1.0, 1.05, 0.9, 1.15, 1.05, 0.95, 0.6)
_WEEKEND_FACTOR: Final = 0.1
_EPOCH_DATE: Final = date(1970, 1, 1)
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday; Monday is 0
_WORK_SHARE: Final = (5 + 2 * _WEEKEND_FACTOR) / 7
_EVERGREEN_DAYS: Final = 150
_ENGAGEMENTS: Final = ("substantive", "fixed_term", "bank", "agency")
_ENGAGEMENT_CUMULATED: Final = (0.74, 0.86, 0.99, 1.0)


class Vacancy(NamedTuple):
    """One advert: who, when, for how many posts, and how it selects."""

    organisation: str
    vacancy_id: str
    number: int
    profile: Profile
    band: str
    engagement: str
    posts: int
    opened: int
    closed: int
    closing_day: int | None
    is_evergreen: bool
    uses_longlisting: bool
    method: str
    decision_method: str


def organisation_shares(count: int) -> list[float]:
    """Return each employer's share of the vacancies: one large acute trust, some middle ones, small ones."""
    raw = [1.0 / (number + 1.0) for number in range(count)]
    return [share / sum(raw) for share in raw]


def openings(settings: SimulationSettings, random: Random) -> Iterator[Vacancy]:
    """Yield the vacancies in order of opening, until the end of the simulation or for ever.

    Args:
        settings: how many a year, from when.
        random: decides everything.
    """
    names = organisation_names(settings.organisations)
    shares = organisation_shares(settings.organisations)
    numbers = dict.fromkeys(names, 0)
    day = settings.start // DAY_MS
    last = None if settings.end is None else settings.end // DAY_MS
    while last is None or day <= last:
        rate = settings.vacancies / YEAR_DAYS * _season(day)
        starts = [
            (day * DAY_MS + int(random.uniform(7.5, 17.5) * HOUR_MS), name)
            for name, share in zip(names, shares, strict=True)
            for _ in range(_poisson(random, rate * share))
        ]
        for opened, name in sorted(starts):
            if opened >= settings.start and (settings.end is None or opened < settings.end):
                numbers[name] += 1
                yield _vacancy(random, name, numbers[name], opened)
        day += 1


def applicants_of(vacancy: Vacancy, random: Random) -> int:
    """Return how many apply: very few or very many are both common."""
    mean = vacancy.profile.applicants * (3 if vacancy.is_evergreen else 1)
    return round(random.gammavariate(1.3, mean / 1.3))


def opened_event(vacancy: Vacancy, random: Random, moment: int) -> VacancyEvent:
    """Return the vacancy's first event, with all its attributes."""
    title = vacancy.profile.titles[vacancy.number % len(vacancy.profile.titles)]
    return VacancyEvent(
        event_id=f"{vacancy.vacancy_id}-opened",
        event_type="opened",
        event_time=moment,
        observed_time=moment,
        source_system="simulator",
        organisation=vacancy.organisation,
        vacancy_id=vacancy.vacancy_id,
        reference=f"{vacancy.number:05d}-{vacancy.organisation}",
        title=f"{title} (simulated)",
        directorate=_DIRECTORATES[int(random.random() ** 1.5 * len(_DIRECTORATES))],
        staff_group=vacancy.profile.staff_group,
        job_role=title,
        afc_band=vacancy.band,
        engagement_type=vacancy.engagement,
        contract_type="permanent" if vacancy.engagement == "substantive" else "temporary",
        working_pattern="full_time" if random.random() < 0.7 else "part_time",
        flexible_advertised=random.random() < 0.4,
        advertised=True,
        job_description_words=max(600, int(random.gauss(3200, 900))) if random.random() < 0.9 else None,
        inclusion_factor=random.random() < 0.2,
        posts=vacancy.posts,
        longlisting_used=vacancy.uses_longlisting,
        closing_date=vacancy.closing_day,
    )


def _vacancy(random: Random, organisation: str, number: int, opened: int) -> Vacancy:
    profile = PROFILES[bisect(_PROFILE_CUMULATED, random.random() * _PROFILE_CUMULATED[-1])]
    is_evergreen = random.random() < 0.015
    length = _EVERGREEN_DAYS if is_evergreen else random.choice((7, 10, 14, 14, 14, 21, 28))
    closing_day = opened // DAY_MS + length
    return Vacancy(
        organisation=organisation,
        vacancy_id=f"{organisation}-V{number:05d}",
        number=number,
        profile=profile,
        band=profile.bands[int(random.random() * len(profile.bands))],
        engagement=_ENGAGEMENTS[bisect(_ENGAGEMENT_CUMULATED, random.random())],
        posts=(6 if is_evergreen else 1) + int(random.random() < 0.3) + int(random.random() < 0.05),
        opened=opened,
        closed=(closing_day + 1) * DAY_MS - 60_000,  # adverts close a minute before midnight
        closing_day=None if is_evergreen else closing_day,
        is_evergreen=is_evergreen,
        uses_longlisting=profile.applicants > 12 and random.random() < 0.2,
        method=random.choice(("panel_interview", "panel_interview", "structured_interview", "assessment_centre")),
        decision_method="ai_assisted" if random.random() < 0.04 else "human",
    )


def _season(day: int) -> float:
    month = (_EPOCH_DATE + timedelta(days=day)).month
    is_weekend = (day + _EPOCH_WEEKDAY) % 7 >= 5
    return _MONTH_FACTORS[month - 1] * (_WEEKEND_FACTOR if is_weekend else 1.0) / _WORK_SHARE


def _poisson(random: Random, mean: float) -> int:
    """Return a Poisson number; in parts, because the simple method multiplies down to exp(-mean)."""
    count = 0
    while mean > 0:
        part = min(mean, 30.0)
        mean -= part
        limit, product = exp(-part), random.random()
        while product > limit:
            count += 1
            product *= random.random()
    return count
