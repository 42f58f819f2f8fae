"""The shipped tables come out of their events exactly as published."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.domain.records import ApplicationEvent, EqualityAnswers, VacancyEvent
from pipeline.examples import BERKELEY, LONDON, berkeley_records, london_records, write_examples
from pipeline.intake.ndjson import Canonical, LineReader, time_of

DAY = 86_400_000


@pytest.fixture(scope="module")
def berkeley() -> list[Canonical]:
    return berkeley_records()


@pytest.fixture(scope="module")
def london() -> list[Canonical]:
    return london_records()


def group_counts(records: list[Canonical]) -> Counter[tuple[str | None, str, str | None, str | None]]:
    """Count events by vacancy, kind, refused stage and the code that the applicant answered."""
    codes = {r.application_id: r.answers[0].code for r in records if isinstance(r, EqualityAnswers)}
    return Counter(
        (r.vacancy_id, r.event_type, r.stage, codes[r.application_id])
        for r in records
        if isinstance(r, ApplicationEvent)
    )


def test_berkeley_gives_the_published_table_of_every_department(berkeley: list[Canonical]) -> None:
    counts = group_counts(berkeley)
    published = {
        "A": (89, 108, 512, 825),
        "B": (17, 25, 353, 560),
        "C": (202, 593, 120, 325),
        "D": (131, 375, 138, 417),
        "E": (94, 393, 53, 191),
        "F": (24, 341, 22, 373),
    }
    for department, (women_in, women, men_in, men) in published.items():
        assert counts[department, "applied", None, "2"] == women
        assert counts[department, "shortlisted", None, "2"] == women_in
        assert counts[department, "rejected", "shortlisted", "2"] == women - women_in
        assert counts[department, "applied", None, "1"] == men
        assert counts[department, "shortlisted", None, "1"] == men_in
        assert counts[department, "rejected", "shortlisted", "1"] == men - men_in
    assert sum(n for (_, kind, _, _), n in counts.items() if kind == "applied") == 4526


def test_london_gives_the_published_counts_and_factors(london: list[Canonical]) -> None:
    counts = group_counts(london)
    published = {
        "White": (15_853, 4_675, 1_148),
        "Black": (15_515, 2_041, 188),
        "Asian": (59_211, 8_406, 1_050),
        "Mixed": (10_860, 1_620, 188),
    }
    for group, (applied, shortlisted, offered) in published.items():
        assert counts[None, "applied", None, group] == applied
        assert counts[None, "shortlisted", None, group] == shortlisted
        assert counts[None, "offered", None, group] == offered
        assert counts[None, "rejected", "shortlisted", group] == applied - shortlisted
        assert counts[None, "rejected", "offered", group] == shortlisted - offered
    white, black = published["White"], published["Black"]
    assert (white[2] / white[0]) / (black[2] / black[0]) == pytest.approx(5.9762, abs=5e-5)
    assert not any(kind == "offer_accepted" for _, kind, _, _ in counts)


@pytest.mark.parametrize(("name", "organisation"), [("berkeley", BERKELEY), ("london", LONDON)])
def test_events_are_in_order_of_time_unique_and_of_one_organisation(
    name: str, organisation: str, request: pytest.FixtureRequest
) -> None:
    records: list[Canonical] = request.getfixturevalue(name)
    times = [time_of(record) for record in records]
    assert times == sorted(times)
    assert len({record.event_id for record in records}) == len(records)
    assert {record.organisation for record in records} == {organisation}


def test_every_berkeley_department_is_decided_before_its_round_is_judged(berkeley: list[Canonical]) -> None:
    decided = [time_of(r) for r in berkeley if isinstance(r, ApplicationEvent) and r.event_type != "applied"]
    assert max(decided) - min(decided) < 28 * DAY
    opened = next(r for r in berkeley if isinstance(r, VacancyEvent) and r.event_type == "opened")
    assert opened.closing_date is not None
    assert opened.closing_date - opened.event_time // DAY < 60, "a longer advert would be judged by month"


def test_written_files_read_back_without_a_problem_and_never_change(tmp_path: Path, berkeley: list[Canonical]) -> None:
    first = write_examples(tmp_path / "a")
    second = write_examples(tmp_path / "b")
    assert [p.name for p in first] == ["berkeley-1973.ndjson", "london-medical-2020-21.ndjson"]
    assert first[0].read_bytes() == second[0].read_bytes()
    reader = LineReader()
    read = [reader.read(line, n) for n, line in enumerate(first[0].read_bytes().splitlines(), 1)]
    assert read == berkeley
    assert "BMJ 2021;375:n2460" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
