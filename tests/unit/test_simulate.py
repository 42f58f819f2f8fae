"""The simulation is the same for the same seed, untidy as configured, and holds the disparity that was put in."""

import io
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from pipeline.domain.codes import group_of
from pipeline.domain.records import ApplicationEvent, Control, EqualityAnswers, VacancyEvent
from pipeline.intake.ndjson import Canonical, LineReader, write_line
from pipeline.intake.times import at
from pipeline.reference import resolve_group
from pipeline.settings import Settings
from pipeline.simulation import simulate as edges
from pipeline.simulation.plan import SimulationSettingError
from pipeline.simulation.simulate import (
    DisparityTextError,
    SimulationSettings,
    a_year_until,
    parse_disparity,
    run_simulation,
    simulate,
)
from pipeline.simulation.stream import deliveries

START = at(2025, 3, 1)
DAY = 86_400_000
BME = resolve_group("ethnicity", "BME").groups
WHITE = resolve_group("ethnicity", "White").groups


def small(**changes: Any) -> SimulationSettings:
    return SimulationSettings(**{"seed": 7, "start": START, "days": 200, "vacancies": 1500} | changes)


@pytest.fixture(scope="module")
def records() -> list[Canonical]:
    return list(simulate(small()))


def applications(records: list[Canonical]) -> list[ApplicationEvent]:
    return [record for record in records if isinstance(record, ApplicationEvent)]


def test_same_seed_gives_the_same_records_and_another_seed_others(records: list[Canonical]) -> None:
    assert list(simulate(small())) == records
    assert list(simulate(small(), Random(7))) == records
    assert list(simulate(small(seed=8)))[:50] != records[:50]


def test_deliveries_come_in_order_none_before_its_event_and_none_after_the_end() -> None:
    settings = small()
    last = 0
    for delivery in deliveries(settings):
        assert last <= delivery.at
        assert delivery.record.event_time <= delivery.at  # type: ignore[union-attr]
        last = delivery.at
    assert settings.end is not None
    assert settings.end - 3 * DAY < last < settings.end


def test_every_record_is_a_valid_canonical_line(records: list[Canonical]) -> None:
    reader = LineReader()
    for number, record in enumerate(records[:20_000]):
        assert reader.read(write_line(record), number) == record
    assert not reader.unknown_fields


def test_everything_is_clearly_simulated(records: list[Canonical]) -> None:
    assert {record.organisation[:5] for record in records} == {"SIM-R"}
    assert {record.source_system for record in records} == {"simulator"}  # type: ignore[union-attr]
    assert all("(simulated)" in r.title for r in records if isinstance(r, VacancyEvent) and r.title)


def test_one_identity_never_means_two_different_things(records: list[Canonical]) -> None:
    seen: dict[str, Canonical] = {}
    repeated = 0
    for record in records:
        repeated += record.event_id in seen
        assert seen.setdefault(record.event_id, record) == record
    assert repeated / len(records) == pytest.approx(0.01, abs=0.003), "delivered twice"


def test_volumes_are_those_of_the_health_service(records: list[Canonical]) -> None:
    events = applications(records)
    kinds = Counter(event.event_type for event in events)
    vacancies = {r.vacancy_id for r in records if isinstance(r, VacancyEvent)}
    assert 7 < kinds["applied"] / len(vacancies) < 15
    assert 0.15 < kinds["shortlisted"] / kinds["applied"] < 0.45
    assert 0.03 < kinds["offer_accepted"] / kinds["applied"] < 0.14
    engagements = {r.engagement_type for r in records if isinstance(r, VacancyEvent) and r.engagement_type}
    assert engagements == {"substantive", "fixed_term", "bank", "agency"}
    assert {e.route for e in events} == {"direct", "internal", "international", "agency", "bank_conversion"}


def test_what_makes_data_untidy_is_there(records: list[Canonical]) -> None:
    events = applications(records)
    kinds = {event.event_type for event in events}
    assert {"reinstated", "merged", "withdrawn", "did_not_attend", "reserved", "offer_declined", "erased"} <= kinds
    assert any(event.corrects for event in events)
    assert any(event.action_id for event in events)
    answers = [record for record in records if isinstance(record, EqualityAnswers)]
    assert any(one.status == "withdrawn" for one in answers)
    assert {one.collected_at for one in answers} == {"application", "employment"}
    given = [a for one in answers for a in one.answers if one.collected_at == "application"]
    unknown = Counter(answer.unknown for answer in given)
    assert set(unknown) == {None, "declined", "no_response", "not_asked", "not_known"}
    assert 1 - unknown[None] / len(given) == pytest.approx(0.07, abs=0.01)
    applied = {e.application_id: e.event_time for e in events if e.event_type == "applied"}
    late = [one for one in answers if one.event_time > applied.get(one.application_id, one.event_time)]
    assert late


def test_untidiness_can_be_switched_off() -> None:
    shares = (
        "duplicates", "disorder", "late_answers", "changed_answers", "withdrawals", "reinstatements", "corrections",
        "merges", "erasures", "objections", "unknown", "withdrawn_vacancies",
    )  # fmt: skip
    clean = list(simulate(small(days=60, **dict.fromkeys(shares, 0.0))))
    assert len({record.event_id for record in clean}) == len(clean)
    kinds = {event.event_type for event in applications(clean)}
    assert not kinds & {"reinstated", "merged", "erased"}
    assert not any(a.unknown for r in clean if isinstance(r, EqualityAnswers) for a in r.answers)


def shortlisting_ratio(records: list[Canonical], organisation: str | None = None) -> float:
    """Mantel-Haenszel ratio of shortlisting, BME to White, over vacancies; counted here from the events alone."""
    groups: dict[str, str] = {}
    tables: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"bme": [0, 0], "white": [0, 0]})
    for record in records:
        if isinstance(record, EqualityAnswers) and record.answers and record.collected_at == "application":
            ethnicity = [a for a in record.answers if a.characteristic == "ethnicity"]
            group = group_of(*ethnicity[0][1:]) if ethnicity else ""
            if group in BME or group in WHITE:
                groups[record.application_id] = "bme" if group in BME else "white"
    decided: set[str] = set()
    for event in applications(records):
        group = groups.get(event.application_id, "")
        is_first = event.application_id not in decided
        if not group or not is_first or organisation not in (None, event.organisation):
            continue
        if event.event_type == "shortlisted" or (event.event_type, event.stage) == ("rejected", "shortlisted"):
            decided.add(event.application_id)
            tables[event.vacancy_id or ""][group][event.event_type != "shortlisted"] += 1
    above = below = 0.0
    for table in tables.values():
        (bme_in, bme_out), (white_in, white_out) = table["bme"], table["white"]
        total = bme_in + bme_out + white_in + white_out
        above += bme_in * (white_in + white_out) / total
        below += white_in * (bme_in + bme_out) / total
    return above / below


def test_without_a_disparity_there_is_none(records: list[Canonical]) -> None:
    assert shortlisting_ratio(records) == pytest.approx(1.0, abs=0.07)


def test_injected_disparity_is_in_the_data_and_only_where_it_was_injected() -> None:
    disparity = parse_disparity("ethnicity/BME/shortlisting=0.4@SIM-R02")
    found = list(simulate(small(disparities=(disparity,), days=300)))
    assert shortlisting_ratio(found, "SIM-R02") < 0.75
    assert shortlisting_ratio(found, "SIM-R01") == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ethnicity/BME/shortlisting", "a weight after ="),
        ("ethnicity/BME=0.5", "three parts"),
        ("race/BME/shortlisting=0.5", "the characteristics are ethnicity"),
        ("ethnicity/BME/offer=0.5", "longlisting, shortlisting, interview"),
        ("ethnicity/BME/shortlisting=low", "a number above 0"),
        ("ethnicity/BME/shortlisting=0", "a number above 0"),
        ("ethnicity/Klingon/shortlisting=0.5", "expected a group of ethnicity"),
    ],
)
def test_disparity_that_cannot_be_read_says_what_is_accepted(text: str, expected: str) -> None:
    with pytest.raises(DisparityTextError, match=expected) as caught:
        parse_disparity(text)
    assert repr(text) in str(caught.value)


def test_disparity_is_read_with_labels_pools_and_codes() -> None:
    assert parse_disparity("sex/women/interview=0.8").groups == {"nhs_stated_gender:2"}
    assert parse_disparity("ethnicity/BME/shortlisting=0.6").groups == BME
    assert parse_disparity("age/65+/longlisting=0.6@SIM-R01").organisation == "SIM-R01"


@pytest.mark.parametrize(
    "changes",
    [{"vacancies": 0}, {"organisations": 0}, {"days": 0}, {"duplicates": 1.5}, {"unknown": -0.1}, {"start": -1}],
)
def test_setting_that_makes_no_sense_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(SimulationSettingError, match=next(iter(changes))):
        small(**changes)


def test_disparity_at_an_unknown_employer_is_named() -> None:
    with pytest.raises(SimulationSettingError, match="SIM-R01 to SIM-R08"):
        small(disparities=(parse_disparity("sex/women/interview=0.8@SIM-R09"),))


class Kept:
    """A sink that keeps what it is given and when."""

    def __init__(self) -> None:
        self.records: list[Canonical] = []
        self.times: list[int] = []
        self.polls = 0

    def send(self, record: Canonical) -> None:
        self.records.append(record)
        self.times.append(int(time.time() * 1000))

    def poll(self) -> None:
        self.polls += 1

    def finish(self) -> None:
        pass


def recent(days: int, **changes: Any) -> SimulationSettings:
    start = (int(time.time() * 1000) // DAY - days) * DAY
    return small(start=start, days=days, **changes)


def test_past_is_bracketed_for_each_employer_and_then_it_goes_on_live() -> None:
    kept = Kept()
    report = run_simulation(Settings(), recent(30), realtime=True, rate=500, seconds=0.5, sink=kept)
    assert report.live == pytest.approx(250, abs=5)
    assert report.backfilled + report.live + 2 * report.organisations == len(kept.records)
    controls = [(n, r.kind, r.organisation) for n, r in enumerate(kept.records) if isinstance(r, Control)]
    for organisation in {name for _, _, name in controls}:
        own = [n for n, record in enumerate(kept.records[: -report.live]) if record.organisation == organisation]
        mine = [(n, kind) for n, kind, name in controls if name == organisation]
        assert mine == [(own[0], "loading"), (own[-1], "caught_up")]


def test_live_events_keep_their_order_and_none_lies_in_the_future() -> None:
    kept = Kept()
    settings = recent(60, duplicates=0.2, disorder=0.2)
    report = run_simulation(Settings(), settings, realtime=True, rate=3000, seconds=0.7, sink=kept)
    live = list(zip(kept.records[-report.live :], kept.times[-report.live :], strict=True))
    assert all(r.event_time <= now + 50 for r, now in live)  # type: ignore[union-attr]
    times: dict[str, int] = {}
    for record, _ in live:
        assert times.setdefault(record.event_id, record.event_time) == record.event_time  # type: ignore[union-attr]
    original = {r.event_id: r.event_time for r in simulate(small(**_of(settings)))}  # type: ignore[union-attr]
    by_application: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for record, _ in live:
        if isinstance(record, ApplicationEvent):
            by_application[record.application_id].append((original[record.event_id], record.event_time))
    for pairs in by_application.values():
        ordered = [squeezed for _, squeezed in sorted(pairs)]
        assert ordered == sorted(ordered)


def _of(settings: SimulationSettings) -> dict[str, Any]:
    return {"start": settings.start, "days": 150, "duplicates": 0.2, "disorder": 0.2}


def test_simulation_of_the_future_is_refused_with_what_to_do() -> None:
    now = int(time.time() * 1000)
    with pytest.raises(edges.SimulatedFutureError, match="Start it earlier"):
        run_simulation(Settings(), small(start=now, days=30), sink=Kept())
    with pytest.raises(edges.SimulatedStartError, match="starts in the past"):
        run_simulation(Settings(), small(start=now + DAY), realtime=True, sink=Kept())


def test_lines_on_standard_output_are_canonical(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdout:
        buffer = io.BytesIO()

    monkeypatch.setattr(sys, "stdout", Stdout())
    report = run_simulation(Settings(), small(days=20), to_stdout=True, backfill=False)
    reader = LineReader()
    read = [reader.read(line, n) for n, line in enumerate(Stdout.buffer.getvalue().splitlines())]
    assert read == list(simulate(small(days=20)))
    assert report.backfilled == len(read)
    assert "simulated records" in report.lines()[0]


def test_reader_that_goes_away_ends_the_simulation_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.BytesIO):
        def write(self, _: Any) -> int:
            raise BrokenPipeError

    class Stdout:
        buffer = Closed()

    monkeypatch.setattr(sys, "stdout", Stdout())
    assert run_simulation(Settings(), small(days=20), to_stdout=True).is_interrupted


def test_default_simulation_is_the_year_before_today() -> None:
    settings = a_year_until(datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert (settings.start, settings.end) == (at(2025, 3, 1), at(2026, 3, 1))
