"""The story of one vacancy: who applies, who is chosen at each stage, and every record that says so.

Selection is a weighted draw without replacement among those who compete for the vacancy (Efraimidis and
Spirakis 2006: the smallest of exponential times divided by weights), so that the data hold what the evidence
has to see through: few places, unequal pools, and whoever is chosen is missing for the others.
"""

# ruff: noqa: PLR2004 - the numbers are the model: shares of what happens, named where they stand

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from pipeline.domain.records import (
    Answer,
    ApplicationEvent,
    Check,
    EqualityAnswers,
    Offer,
    VacancyEvent,
)
from pipeline.intake.ndjson import Canonical
from pipeline.simulation.people import Person, asked_again, changed_answer, draw_person, weight_of
from pipeline.simulation.plan import DAY_MS, Disparity, SimulationSettings
from pipeline.simulation.vacancies import HOUR_MS, Vacancy, applicants_of, opened_event

MINUTE_MS: Final = 60_000
_MONTH_MS: Final = 30 * DAY_MS
_CHECKS: Final = (
    "identity",
    "right_to_work",
    "registration_and_qualifications",
    "employment_history_and_references",
    "criminal_record",
    "work_health",
)


@dataclass(slots=True)
class Candidate:
    """One application on its way."""

    application_id: str
    person: Person
    applied_at: int
    route: str
    is_guaranteed: bool = False
    sent: int = 0
    is_out: bool = False


class Story:
    """Writes the records of one vacancy; ``records`` holds them in no particular order."""

    def __init__(self, vacancy: Vacancy, settings: SimulationSettings, random: Random) -> None:
        self.records: list[Canonical] = []
        self._vacancy = vacancy
        self._settings = settings
        self._random = random
        self._disparities: dict[str, tuple[Disparity, ...]] = {
            step: tuple(
                d for d in settings.disparities if d.step == step and d.organisation in (None, vacancy.organisation)
            )
            for step in ("longlisting", "shortlisting", "interview")
        }

    def write(self) -> list[Canonical]:
        """Return every record of the vacancy."""
        vacancy, random = self._vacancy, self._random
        count = applicants_of(vacancy, random)
        closed = vacancy.closed
        if count > 25 and not vacancy.is_evergreen and random.random() < 0.15:  # closes early when volume is high
            closed = vacancy.opened + (closed - vacancy.opened) // 2
        self.records.append(opened_event(vacancy, random, vacancy.opened))
        candidates = [self._apply(number, closed) for number in range(count)]
        self._vacancy_event("closed", closed)
        withdrawn_at = None
        if random.random() < self._settings.withdrawn_vacancies:
            withdrawn_at = closed + int(random.uniform(0.1, 20) * DAY_MS)
            self._vacancy_event("withdrawn", withdrawn_at)
        for pool, from_time, posts in self._rounds(candidates, closed):
            self._select(pool, from_time, posts)
        if withdrawn_at is None:
            return self.records
        return [r for r in self.records if r.event_time <= withdrawn_at]  # type: ignore[union-attr]

    def _rounds(self, candidates: list[Candidate], closed: int) -> list[tuple[list[Candidate], int, int]]:
        """Return the pools that are decided together: all, or for a rolling advert those of each month."""
        vacancy = self._vacancy
        if not vacancy.is_evergreen:
            return [(candidates, closed, vacancy.posts)]
        rounds = []
        for start in range(vacancy.opened, closed, _MONTH_MS):
            pool = [c for c in candidates if start <= c.applied_at < start + _MONTH_MS]
            rounds.append((pool, start + _MONTH_MS, max(1, vacancy.posts // 5)))
        return rounds

    def _apply(self, number: int, closed: int) -> Candidate:
        vacancy, random, settings = self._vacancy, self._random, self._settings
        length = closed - vacancy.opened
        late_rush = random.random() < 0.35
        back = random.random() ** 2 * min(length, 36 * HOUR_MS) if late_rush else random.random() * length
        candidate = Candidate(
            application_id=f"{vacancy.vacancy_id}-A{number + 1:03d}",
            person=draw_person(random, settings.unknown),
            applied_at=max(vacancy.opened + 10 * MINUTE_MS, closed - 1_000 - int(back)),
            route=self._route(),
        )
        candidate.is_guaranteed = candidate.person.is_disabled and random.random() < 0.15
        self._event(
            candidate,
            "applied",
            candidate.applied_at,
            channel="internal_bulletin" if candidate.route == "internal" else "nhs_jobs",
            internal=candidate.route == "internal",
            candidate_id=f"{vacancy.organisation}-P{random.getrandbits(40):010x}",
            guaranteed_interview=candidate.is_guaranteed or None,
            non_nhs_experience=random.random() < 0.4,
        )
        self._answer(candidate)
        return candidate

    def _answer(self, candidate: Candidate) -> None:
        random, settings, person = self._random, self._settings, candidate.person
        at = candidate.applied_at
        if random.random() < settings.late_answers:
            at += int(random.uniform(0.5, 12) * DAY_MS)
        self._answers(candidate, at, person.answers)
        if random.random() < settings.changed_answers:
            self._answers(candidate, at + int(random.uniform(1, 25) * DAY_MS), changed_answer(random, person))
        if random.random() < settings.objections:
            self._answers(candidate, at + int(random.uniform(1, 60) * DAY_MS), (), status="withdrawn")
        if random.random() < settings.erasures:
            self._event(candidate, "erased", at + int(random.uniform(30, 120) * DAY_MS))
        if random.random() < settings.merges:
            self._merge(candidate)

    def _merge(self, candidate: Candidate) -> None:
        """Let the person have applied twice; the second application is merged into the first."""
        twin = Candidate(
            candidate.application_id + "D",
            candidate.person,
            candidate.applied_at + 20 * MINUTE_MS,
            candidate.route,
        )
        self._event(twin, "applied", twin.applied_at)
        self._event(twin, "merged", twin.applied_at + 2 * DAY_MS, merged_into=candidate.application_id)

    def _select(self, pool: list[Candidate], from_time: int, posts: int) -> None:
        """Sift a pool, interview and appoint."""
        random, settings, vacancy = self._random, self._settings, self._vacancy
        sift = from_time + int(random.uniform(2, 14) * DAY_MS) // HOUR_MS * HOUR_MS + 9 * HOUR_MS
        for candidate in pool:
            if random.random() < settings.withdrawals:
                self._out(candidate, "withdrawn", from_time + int(random.random() * (sift - from_time)), None)
        running = [c for c in pool if not c.is_out]
        if vacancy.uses_longlisting and len(running) > 15:
            running = self._longlist(running, sift)
            sift += 5 * DAY_MS
        places = max(2 * posts, round(len(running) * vacancy.profile.shortlisted))
        ranked = self._ranked(running, "shortlisting")
        chosen = [c for i, c in enumerate(ranked) if i < places or (c.is_guaranteed and c.person.meets_essential)]
        chosen_ids = {c.application_id for c in chosen}
        for candidate in ranked:
            at = sift + int(random.random() * 6 * HOUR_MS)
            if candidate.application_id in chosen_ids:
                self._event(candidate, "shortlisted", at, meets_essential=candidate.person.meets_essential)
                continue
            self._sifted_out(candidate, at)
            if random.random() < settings.reinstatements:
                self._event(candidate, "reinstated", at + 2 * DAY_MS)
                self._event(candidate, "shortlisted", at + 2 * DAY_MS + HOUR_MS)
                candidate.is_out = False
                chosen.append(candidate)
        self._interview(chosen, sift, posts)

    def _longlist(self, running: list[Candidate], sift: int) -> list[Candidate]:
        ranked = self._ranked(running, "longlisting")
        kept = ranked[: max(8, round(len(ranked) * 0.6))]
        for candidate in ranked:
            at = sift - DAY_MS + int(self._random.random() * HOUR_MS)
            if len(kept) > 0 and candidate in kept:
                self._event(candidate, "longlisted", at)
            else:
                self._out(candidate, "rejected", at, "longlisted", reason="essential_criteria")
        return kept

    def _sifted_out(self, candidate: Candidate, at: int) -> None:
        reason = "scored_lower" if candidate.person.meets_essential else "essential_criteria"
        self._out(candidate, "rejected", at, "shortlisted", reason=reason)
        if self._random.random() < self._settings.corrections:  # entered with a wrong date, replaced a day later
            wrong = self.records[-1]
            self._event(
                candidate,
                "rejected",
                at - HOUR_MS,
                stage="shortlisted",
                reason_code=reason,
                corrects=wrong.event_id,
            )

    def _interview(self, chosen: list[Candidate], sift: int, posts: int) -> None:
        random, settings = self._random, self._settings
        day = sift + int(random.uniform(7, 16)) * DAY_MS
        seen: list[Candidate] = []
        for candidate in chosen:
            self._event(candidate, "interview_invited", sift + int(random.uniform(6, 30) * HOUR_MS))
            if candidate.person.is_disabled and random.random() < 0.3:
                self._event(candidate, "adjustment_requested", sift + 40 * HOUR_MS, adjustment="interview_format")
                self._event(candidate, "adjustment_provided", day - DAY_MS, adjustment="interview_format")
            draw = random.random()
            if draw < settings.withdrawals * 1.5:
                self._out(candidate, "withdrawn", day - int(random.random() * 4 * DAY_MS), "offered")
            elif draw < settings.withdrawals * 1.5 + 0.05:
                self._out(candidate, "did_not_attend", day + 8 * HOUR_MS, "offered")
            else:
                self._event(candidate, "interviewed", day + int(random.uniform(0, 8) * HOUR_MS))
                seen.append(candidate)
        self._appoint(self._ranked(seen, "interview"), day + DAY_MS, posts)

    def _appoint(self, ranked: Sequence[Candidate], decided: int, posts: int) -> None:
        """Offer to the best, and to the next whenever one declines."""
        random = self._random
        filled, at = 0, decided
        for position, candidate in enumerate(ranked):
            if filled == posts:
                kind = "reserved" if position <= posts + 1 and random.random() < 0.3 else "rejected"
                self._out(candidate, kind, at + int(random.uniform(0, 3) * DAY_MS), "offered", reason="interview_score")
                continue
            offered = at + int(random.uniform(1, 30) * HOUR_MS)
            self._event(candidate, "offered", offered, offer=Offer(int(random.uniform(1, 5))))
            answered = offered + int(random.uniform(0.2, 6) * DAY_MS)
            draw = random.random()
            if draw < 0.86:
                self._accept(candidate, answered)
                filled += 1
            elif draw < 0.95:
                self._out(candidate, "offer_declined", answered, "accepted")
                at = answered
            elif draw < 0.97:
                self._out(candidate, "offer_withdrawn", answered, "accepted", reason="post_withdrawn")
                at = answered
            else:
                filled += 1  # never answered: stays pending

    def _accept(self, candidate: Candidate, accepted: int) -> None:
        random = self._random
        fan_out = f"{candidate.application_id}-accept" if random.random() < 0.1 else None
        self._event(candidate, "offer_accepted", accepted, action_id=fan_out)
        if fan_out is not None:  # two webhooks of one action
            self._event(candidate, "offer_accepted", accepted + 1_500, action_id=fan_out)
        checked = accepted
        for kind in _CHECKS:
            checked = max(checked, accepted + int(random.uniform(1, 35) * DAY_MS))
            status = "failed" if random.random() < 0.004 else "passed"
            self._event(candidate, "check_updated", checked, check=Check(kind, status))
            if status == "failed":
                self._out(candidate, "rejected", checked + DAY_MS, "started", reason="checks_failed")
                return
        if random.random() < 0.04:
            self._out(candidate, "withdrawn", checked, "started")
            return
        self._event(candidate, "cleared", checked + HOUR_MS)
        start = max(checked + 3 * DAY_MS, accepted + int(random.uniform(28, 80)) * DAY_MS)
        start = start // DAY_MS * DAY_MS + 9 * HOUR_MS
        self._event(candidate, "start_booked", checked + 2 * HOUR_MS)
        if random.random() < 0.005:
            self._event(candidate, "hire_undone", start - DAY_MS)
            return
        self._event(candidate, "started", start)
        self._event(candidate, "inducted", start + int(random.uniform(1, 10)) * DAY_MS)
        self._answers(candidate, start + 2 * HOUR_MS, asked_again(random, candidate.person), collected_at="employment")

    def _ranked(self, candidates: Sequence[Candidate], step: str) -> list[Candidate]:
        """Return the candidates in the order of a weighted draw without replacement."""
        draw, disparities = self._random.expovariate, self._disparities[step]
        keyed = [(draw(weight_of(c.person, disparities)), c.application_id, c) for c in candidates]
        return [candidate for _, _, candidate in sorted(keyed)]

    def _route(self) -> str:
        draw = self._random.random()
        international = self._vacancy.profile.international
        if draw < international:
            return "international"
        if draw < international + 0.12:
            return "internal"
        if draw < international + 0.15:
            return "bank_conversion"
        return "agency" if draw < international + 0.16 else "direct"

    def _out(self, candidate: Candidate, kind: str, at: int, stage: str | None, reason: str | None = None) -> None:
        candidate.is_out = True
        self._event(candidate, kind, at, stage=stage, reason_code=reason)

    def _event(self, candidate: Candidate, kind: str, at: int, **more: Any) -> None:
        candidate.sent += 1
        vacancy = self._vacancy
        self.records.append(
            ApplicationEvent(
                f"{candidate.application_id}-{candidate.sent}",
                kind,
                at,
                at,
                "simulator",
                vacancy.organisation,
                candidate.application_id,
                vacancy.vacancy_id,
                route=candidate.route,
                decision_method=vacancy.decision_method if kind in _DECISIONS else None,
                selection_method=vacancy.method if kind in _INTERVIEW_DECISIONS else None,
                **more,
            )
        )

    def _answers(
        self,
        candidate: Candidate,
        at: int,
        answers: tuple[Answer, ...],
        *,
        status: str = "given",
        collected_at: str = "application",
    ) -> None:
        candidate.sent += 1
        self.records.append(
            EqualityAnswers(
                f"{candidate.application_id}-{candidate.sent}",
                at,
                self._vacancy.organisation,
                candidate.application_id,
                status,
                collected_at,
                answers,
                "simulator",
                at,
            )
        )

    def _vacancy_event(self, kind: str, at: int) -> None:
        vacancy = self._vacancy
        self.records.append(
            VacancyEvent(
                f"{vacancy.vacancy_id}-{kind}",
                kind,
                at,
                at,
                "simulator",
                vacancy.organisation,
                vacancy.vacancy_id,
            )
        )


_DECISIONS: Final = frozenset({"longlisted", "shortlisted", "rejected", "offered", "reserved"})
_INTERVIEW_DECISIONS: Final = frozenset({"interviewed", "offered", "reserved"})
