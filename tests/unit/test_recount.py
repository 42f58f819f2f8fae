"""The rules of the independent recount, case by case: the outcome table first, then everything around it."""

from typing import Any

import pytest

from pipeline.domain.records import (
    AlertAction,
    Answer,
    ApplicationEvent,
    Control,
    EqualityAnswers,
    TransitionBatch,
    VacancyEvent,
)
from pipeline.domain.rejects import RejectReason
from pipeline.reconcile.recount import Cell, Recount, recount
from pipeline.reconcile.recount_log import ArchiveOrderError
from pipeline.topics import partition_of
from tests.archive import PARTITIONS, InputLog

DAY_MS = 86_400_000
DAY_0 = 19_000
NOON = DAY_0 * DAY_MS + DAY_MS // 2
APPENDED = NOON + 300 * DAY_MS
ORGANISATION = "RXX"


def event(kind: str, day: float, *, app: str = "a1", event_id: str | None = None, **more: Any) -> ApplicationEvent:
    at = NOON + int(day * DAY_MS)
    more.setdefault("vacancy_id", "v1")
    return ApplicationEvent(event_id or f"{app}-{kind}-{day}", kind, at, at, "test", ORGANISATION, app, **more)


def story(text: str, app: str = "a1") -> list[ApplicationEvent]:
    """Read ``applied@0 rejected@5/offered``: event type, day, and the stage it names."""
    made = []
    for word in text.split():
        kind, _, rest = word.partition("@")
        day, _, stage = rest.partition("/")
        made.append(event(kind, float(day), app=app, stage=stage or None))
    return made


def vacancy(kind: str, day: float, *, longlisting: bool | None = None, vacancy_id: str = "v1") -> VacancyEvent:
    at = NOON + int(day * DAY_MS)
    event_id = f"{vacancy_id}-{kind}-{day}"
    return VacancyEvent(event_id, kind, at, at, "test", ORGANISATION, vacancy_id, longlisting_used=longlisting)


def answers(
    day: float, *given: Answer, app: str = "a1", status: str = "given", collected_at: str = "application"
) -> EqualityAnswers:
    at = NOON + int(day * DAY_MS)
    return EqualityAnswers(f"q-{app}-{day}", at, ORGANISATION, app, status, collected_at, list(given))


def count(*records: Any) -> Recount:
    log = InputLog(APPENDED).add(records)
    return recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")


def everybody(counted: Recount, kind: str) -> dict[str, Any]:
    """Return {name: (outcome, day)} of outcomes or {name: day} of arrivals, days from DAY_0."""
    found: dict[str, Any] = {}
    for cell, people in counted.cells.items():
        if cell.kind == kind and cell.characteristic is None:
            assert people == 1
            assert cell.name not in found
            day = cell.day - DAY_0
            found[cell.name] = (cell.outcome, day) if kind == "outcome" else day
    return found


def outcomes(*records: Any) -> dict[str, tuple[str, int]]:
    return everybody(count(*records), "outcome")


def arrivals(*records: Any) -> dict[str, int]:
    return everybody(count(*records), "arrival")


def groups(counted: Recount, name: str, characteristic: str = "sex") -> dict[str, int]:
    return {
        str(cell.group): people
        for cell, people in counted.cells.items()
        if cell.name == name and cell.characteristic == characteristic
    }


MALE = Answer("sex", "nhs_stated_gender", "1")
FEMALE = Answer("sex", "nhs_stated_gender", "2")

STEPS = ("shortlisting", "interview", "offer", "appointment", "onboarding", "overall")

TABLE = {
    "rejected at sift": ("applied@0 rejected@5", ("n5", None, None, None, None, "n5")),
    "withdrew before shortlist": ("applied@0 withdrawn@5", ("w5", None, None, None, None, "w5")),
    "rejected after shortlist": (
        "applied@0 shortlisted@5 rejected@9",
        ("s5", "n9", None, "n9", None, "n9"),
    ),
    "reserve": ("applied@0 shortlisted@5 reserved@9", ("s5", "n9", None, "n9", None, "n9")),
    "reserve, later appointed": (
        "applied@0 shortlisted@5 reserved@9 offered@20 offer_accepted@22 started@60",
        ("s5", "s20", "s22", "s22", "s60", "s22"),
    ),
    "withdrew after shortlist": (
        "applied@0 shortlisted@5 withdrawn@9",
        ("s5", "w9", None, "w9", None, "w9"),
    ),
    "did not attend": (
        "applied@0 shortlisted@5 did_not_attend@9",
        ("s5", "w9", None, "w9", None, "w9"),
    ),
    "offered, declined": (
        "applied@0 shortlisted@5 offered@9 offer_declined@12",
        ("s5", "s9", "w12", "w12", None, "w12"),
    ),
    "employer withdraws the offer": (
        "applied@0 shortlisted@5 offered@9 offer_withdrawn@12",
        ("s5", "s9", "n12", "n12", None, "n12"),
    ),
    "employer rejects before acceptance": (
        "applied@0 shortlisted@5 offered@9 rejected@12",
        ("s5", "s9", "n12", "n12", None, "n12"),
    ),
    "accepted, check fails": (
        "applied@0 shortlisted@5 offered@9 offer_accepted@12 check_updated@20 rejected@30",
        ("s5", "s9", "s12", "s12", "n30", "s12"),
    ),
    "accepted, withdraws": (
        "applied@0 shortlisted@5 offered@9 offer_accepted@12 withdrawn@30",
        ("s5", "s9", "s12", "s12", "w30", "s12"),
    ),
    "started": (
        "applied@0 shortlisted@5 offered@9 offer_accepted@12 started@60",
        ("s5", "s9", "s12", "s12", "s60", "s12"),
    ),
    "pending": ("applied@0", (None, None, None, None, None, None)),
    "pending after offer": ("applied@0 shortlisted@5 offered@9", ("s5", "s9", None, None, None, None)),
}
WORDS = {"s": "selected", "n": "not_selected", "w": "withdrew", "v": "void"}


@pytest.mark.parametrize("case", TABLE)
def test_every_case_of_the_outcome_table_counts_as_written(case: str) -> None:
    text, expected = TABLE[case]
    wanted = {
        step: (WORDS[code[0]], int(code[1:])) for step, code in zip(STEPS, expected, strict=True) if code is not None
    }
    assert outcomes(*story(text)) == wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("applied@0", {"shortlisting": ("void", 50), "overall": ("void", 50)}),
        (
            "applied@0 shortlisted@5",
            {
                "shortlisting": ("selected", 5),
                "interview": ("void", 50),
                "appointment": ("void", 50),
                "overall": ("void", 50),
            },
        ),
        (
            "applied@0 shortlisted@5 offered@9",
            {
                "shortlisting": ("selected", 5),
                "interview": ("selected", 9),
                "offer": ("void", 50),
                "appointment": ("void", 50),
                "overall": ("void", 50),
            },
        ),
        ("applied@0 rejected@5", {"shortlisting": ("not_selected", 5), "overall": ("not_selected", 5)}),
        ("applied@70", {"shortlisting": ("void", 70), "overall": ("void", 70)}),
    ],
)
def test_a_withdrawn_vacancy_voids_what_is_pending_and_nothing_else(text: str, expected: Any) -> None:
    assert outcomes(*story(text), vacancy("opened", -9), vacancy("withdrawn", 50)) == expected


def test_onboarding_is_void_only_while_pending() -> None:
    accepted = story("applied@0 shortlisted@5 offered@9 offer_accepted@12")
    assert outcomes(*accepted, vacancy("withdrawn", 50))["onboarding"] == ("void", 50)
    assert outcomes(*accepted, *story("started@60"), vacancy("withdrawn", 50))["onboarding"] == ("selected", 60)


def test_onboarding_beyond_the_horizon_is_not_void_either() -> None:
    accepted = story("applied@0 shortlisted@5 offered@9 offer_accepted@12")
    assert outcomes(*accepted, vacancy("withdrawn", 192))["onboarding"] == ("void", 192)
    assert "onboarding" not in outcomes(*accepted, vacancy("withdrawn", 193))


def test_a_reopened_vacancy_is_not_withdrawn_whatever_arrives_last() -> None:
    records = (*story("applied@0"), vacancy("reopened", 60), vacancy("withdrawn", 50), vacancy("closed", 70))
    assert outcomes(*records) == {}


def test_an_unknown_vacancy_or_none_is_open() -> None:
    assert outcomes(event("applied", 0, vacancy_id=None), vacancy("withdrawn", 50)) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("applied@0 longlisted@2", ("selected", 2)),
        ("applied@0 rejected@2", ("not_selected", 2)),
        ("applied@0 longlisted@2 rejected@4", ("selected", 2)),
        ("applied@0 shortlisted@4 rejected@9", None),
        ("applied@0 shortlisted@4", None),
        ("applied@0 rejected@2/shortlisted", None),
        ("applied@0 did_not_attend@2", None),
    ],
)
def test_longlisting_counts_who_was_decided_there(text: str, expected: Any) -> None:
    assert outcomes(*story(text), vacancy("opened", -1, longlisting=True)).get("longlisting") == expected


def test_longlisting_counts_without_the_vacancy_only_where_a_decision_names_it() -> None:
    assert outcomes(*story("applied@0 rejected@2/longlisted"))["longlisting"] == ("not_selected", 2)
    assert "longlisting" not in outcomes(*story("applied@0 rejected@2"))


def test_pending_longlisting_is_void_unless_the_person_went_on() -> None:
    used = (vacancy("opened", -1, longlisting=True), vacancy("withdrawn", 50))
    assert outcomes(*story("applied@0"), *used)["longlisting"] == ("void", 50)
    assert "longlisting" not in outcomes(*story("applied@0 shortlisted@4"), *used)


def test_an_application_record_is_itself_evidence_of_applied() -> None:
    assert arrivals(*story("rejected@5")) == {"applied": 5}
    assert arrivals(*story("check_updated@3 applied@5")) == {"applied": 5}


def test_implied_stages_arrive_but_decide_no_step() -> None:
    assert arrivals(*story("applied@0 offer_accepted@9")) == {
        "applied": 0,
        "shortlisted": 9,
        "offered": 9,
        "accepted": 9,
    }
    assert outcomes(*story("applied@0 offer_accepted@9")) == {"overall": ("selected", 9)}


def test_an_offer_implies_that_the_person_was_shortlisted() -> None:
    assert arrivals(*story("applied@0 offered@9"))["shortlisted"] == 9
    assert "shortlisting" not in outcomes(*story("applied@0 offered@9 rejected@12"))
    assert outcomes(*story("applied@0 offered@9 rejected@12"))["offer"] == ("not_selected", 12)


def test_a_refused_later_stage_implies_the_stages_before() -> None:
    assert arrivals(*story("applied@0 rejected@9/accepted")) == {"applied": 0, "shortlisted": 9, "offered": 9}
    assert arrivals(*story("applied@0 rejected@9/offered")) == {"applied": 0, "shortlisted": 9}
    assert outcomes(*story("applied@0 rejected@9/offered")) == {"overall": ("not_selected", 9)}


def test_an_explicit_stage_replaces_the_implied_one_with_its_own_day() -> None:
    assert arrivals(*story("applied@0 interviewed@5 shortlisted@7"))["shortlisted"] == 7
    assert outcomes(*story("applied@0 interviewed@5 shortlisted@7"))["shortlisting"] == ("selected", 7)


def test_acceptance_is_never_implied() -> None:
    assert "accepted" not in arrivals(*story("applied@0 started@9"))
    assert outcomes(*story("applied@0 started@9")) == {}


def test_a_repeated_offer_changes_nothing_but_a_new_offer_after_a_refusal_counts_again() -> None:
    first = "applied@0 shortlisted@5 offered@9"
    repeated = outcomes(*story(f"{first} offered@15 offer_accepted@20"))
    assert repeated["interview"] == ("selected", 9)
    assert repeated["offer"] == ("selected", 20)
    again = story(f"{first} offer_declined@12 offered@15")
    assert outcomes(*again)["interview"] == ("selected", 9)
    assert "offer" not in outcomes(*again)
    assert outcomes(*again, *story("rejected@18"))["offer"] == ("not_selected", 18)


def test_the_entry_day_of_the_offer_step_is_that_of_the_new_offer() -> None:
    counted = count(*story("applied@0 shortlisted@5 offered@9 offer_declined@12 offered@15 offer_accepted@20"))
    entries = {c.name: c.entry_day - DAY_0 for c in counted.contributions[ORGANISATION, "a1"] if c.kind == "outcome"}
    assert entries == {"shortlisting": 0, "interview": 5, "offer": 15, "appointment": 5, "overall": 0}


def test_a_later_positive_stage_ends_a_rejection_but_one_at_the_same_time_does_not() -> None:
    assert outcomes(*story("applied@0 rejected@5 shortlisted@9"))["shortlisting"] == ("selected", 9)
    same = outcomes(*story("applied@0 rejected@5 shortlisted@5"))
    assert same["shortlisting"] == ("selected", 5)
    assert same["interview"] == ("not_selected", 5)


def test_a_stage_already_passed_does_not_end_a_rejection() -> None:
    found = outcomes(*story("applied@0 offered@5 rejected@9 shortlisted@12"))
    assert found["shortlisting"] == ("selected", 12)
    assert found["overall"] == ("not_selected", 9)


def test_only_the_first_of_two_refusals_counts() -> None:
    assert outcomes(*story("applied@0 withdrawn@5 rejected@9"))["overall"] == ("withdrew", 5)


def test_reinstatement_makes_pending_and_keeps_the_stages() -> None:
    assert outcomes(*story("applied@0 shortlisted@5 rejected@9 reinstated@11")) == {"shortlisting": ("selected", 5)}
    assert outcomes(*story("applied@0 rejected@9 reinstated@11 rejected@14"))["overall"] == ("not_selected", 14)


def test_a_reserve_counts_only_after_shortlisting() -> None:
    assert outcomes(*story("applied@0 reserved@5")) == {}
    assert outcomes(*story("applied@0 reserved@5 rejected@9"))["shortlisting"] == ("not_selected", 9)


@pytest.mark.parametrize(("day", "expected"), [(192, ("selected", 192)), (193, None)])
def test_onboarding_has_a_horizon_of_180_days(day: int, expected: Any) -> None:
    found = outcomes(*story(f"applied@0 shortlisted@5 offered@9 offer_accepted@12 started@{day}"))
    assert found.get("onboarding") == expected


def test_after_acceptance_only_onboarding_changes() -> None:
    accepted = "applied@0 shortlisted@5 offered@9 offer_accepted@12"
    assert outcomes(*story(f"{accepted} withdrawn@20 rejected@25"))["onboarding"] == ("withdrew", 20)
    assert "onboarding" not in outcomes(*story(f"{accepted} withdrawn@20 reinstated@25"))
    assert outcomes(*story(f"{accepted} withdrawn@20 started@25"))["onboarding"] == ("selected", 25)
    assert outcomes(*story(f"{accepted} started@25 rejected@30"))["onboarding"] == ("selected", 25)
    assert "onboarding" not in outcomes(*story(f"{accepted} reserved@20"))


def test_hire_undone_takes_back_acceptance_and_start_and_nothing_before() -> None:
    text = "applied@0 shortlisted@5 offered@9 offer_accepted@12 started@20 hire_undone@22"
    assert outcomes(*story(text)) == {"shortlisting": ("selected", 5), "interview": ("selected", 9)}
    assert arrivals(*story(text)) == {"applied": 0, "shortlisted": 5, "offered": 9}
    again = outcomes(*story(f"{text} rejected@25"))
    assert again["offer"] == ("not_selected", 25)
    assert again["appointment"] == ("not_selected", 25)


def test_a_correction_and_a_void_take_back_an_event_whatever_the_order() -> None:
    wrong = event("rejected", 5, event_id="wrong")
    right = event("shortlisted", 6, corrects="wrong")
    assert outcomes(right, wrong, event("applied", 0)) == {"shortlisting": ("selected", 6)}
    assert outcomes(event("check_updated", 7, voids="wrong"), wrong, event("applied", 0)) == {}


def test_a_voided_correction_still_takes_back_its_target() -> None:
    records = (
        event("applied", 0),
        event("rejected", 5, event_id="x"),
        event("shortlisted", 6, event_id="y", corrects="x"),
        event("check_updated", 7, voids="y"),
    )
    assert outcomes(*records) == {}


def test_nothing_is_left_of_an_application_whose_every_event_is_voided() -> None:
    assert (
        count(event("applied", 0, event_id="x"), event("check_updated", 1, event_id="y", voids="x", corrects="y")).cells
        == {}
    )


def test_a_void_reaches_only_linked_applications() -> None:
    other = event("check_updated", 6, app="b1", voids="x")
    assert "overall" in outcomes_of("a1", event("applied", 0), event("rejected", 5, event_id="x"), other)


def outcomes_of(root: str, *records: Any) -> dict[str, tuple[str, int]]:
    counted = count(*records).contributions.get((ORGANISATION, root), ())
    return {c.name: (c.outcome, c.day - DAY_0) for c in counted if c.kind == "outcome"}


def test_events_of_one_action_and_type_are_one_the_earliest() -> None:
    records = (
        event("applied", 0),
        event("rejected", 9, action_id="act"),
        event("rejected", 5, action_id="act"),
        event("reinstated", 7),
    )
    assert outcomes(*records) == {}
    assert outcomes(*records[:2])["overall"] == ("not_selected", 9)


def test_merged_applications_count_once_at_the_root() -> None:
    merge = event("merged", 3, app="a1", merged_into="b1")
    counted = count(*story("applied@0 rejected@2"), merge, *story("applied@1 shortlisted@4", app="b1"))
    assert set(counted.contributions) == {(ORGANISATION, "b1")}
    assert everybody(counted, "arrival") == {"applied": 0, "shortlisted": 4}
    assert everybody(counted, "outcome") == {"shortlisting": ("selected", 4)}


@pytest.mark.parametrize(
    ("edges", "root"),
    [
        (("a1>b1", "b1>c1"), "c1"),
        (("a1>b1", "a1>c1"), "b1"),
        (("a1>b1", "b1>a1"), "a1"),
        (("a1>b1", "b1>c1", "c1>b1"), "a1"),
        (("a1>a1",), "a1"),
        (("c1>c1", "c1>b1"), "b1"),
    ],
)
def test_the_root_of_chains_forks_and_cycles_is_fixed(edges: tuple[str, ...], root: str) -> None:
    merges = [event("merged", 3 + i, app=edge[:2], merged_into=edge[3:]) for i, edge in enumerate(edges)]
    counted = count(*merges, *(event("applied", 0, app=app) for app in {e[:2] for e in edges}))
    assert set(counted.contributions) == {(ORGANISATION, root)}


def test_a_voided_merge_parts_the_applications_again() -> None:
    merge = event("merged", 3, app="a1", merged_into="b1", event_id="m")
    parted = event("check_updated", 5, app="b1", voids="m")
    records = (*story("applied@0 rejected@2"), *story("applied@1", app="b1"), merge, parted)
    assert outcomes_of("a1", *records)["overall"] == ("not_selected", 2)
    assert outcomes_of("b1", *records) == {}


def test_answers_of_merged_applications_are_joined() -> None:
    merge = event("merged", 3, app="a1", merged_into="b1")
    counted = count(*story("applied@0"), merge, *story("applied@1", app="b1"), answers(2, FEMALE))
    assert groups(counted, "applied") == {"nhs_stated_gender:2": 1}


def test_erasure_takes_back_everything_ever_linked_and_silences_it() -> None:
    merge = event("merged", 3, app="a1", merged_into="b1", event_id="m")
    parted = event("check_updated", 5, app="b1", voids="m")
    records = [*story("applied@0"), *story("applied@1", app="b1"), merge, parted, *story("applied@0", app="c1")]
    counted = count(*records, event("erased", 9, app="b1"), *story("rejected@9"), answers(9, MALE))
    assert set(counted.contributions) == {(ORGANISATION, "c1")}
    assert counted.ignored == {"erased": 2}
    assert counted.rejected == ()


def test_merging_into_an_erased_application_erases() -> None:
    merge = event("merged", 12, app="a1", merged_into="b1")
    records = [*story("applied@1", app="b1"), event("erased", 9, app="b1"), *story("applied@0"), merge]
    assert count(*records).cells == {}


def test_a_merge_that_arrives_after_the_erasure_erases_its_target_too() -> None:
    merge = event("merged", 12, app="a1", merged_into="b1")
    records = [*story("applied@0"), event("erased", 9), *story("applied@1", app="b1"), merge]
    assert count(*records).cells == {}
    assert count(*records[::-1]).cells == {}


def test_late_answer_moves_every_earlier_count_to_the_new_group() -> None:
    pathway = story("applied@0 shortlisted@5 rejected@9")
    before, after = count(*pathway, answers(0, MALE)), count(*pathway, answers(0, MALE), answers(20, FEMALE))
    for name in ("applied", "shortlisting", "interview", "overall"):
        assert groups(before, name) == {"nhs_stated_gender:1": 1}
        assert groups(after, name) == {"nhs_stated_gender:2": 1}


def test_answers_at_employment_set_groups_only_from_onboarding_on() -> None:
    hired = story("applied@0 shortlisted@5 offered@9 offer_accepted@12 started@20")
    counted = count(*hired, answers(0, MALE), answers(21, FEMALE, collected_at="employment"))
    assert groups(counted, "accepted") == groups(counted, "appointment") == {"nhs_stated_gender:1": 1}
    assert groups(counted, "started") == groups(counted, "onboarding") == {"nhs_stated_gender:2": 1}


def test_an_objection_covers_every_characteristic_until_a_newer_answer() -> None:
    records = (*story("applied@0"), answers(0, MALE), answers(5, status="withdrawn", collected_at="offer"))
    assert groups(count(*records), "applied") == {"unknown:withdrawn": 1}
    assert groups(count(*records), "applied", "age") == {"unknown:withdrawn": 1}
    assert groups(count(*records, answers(9, FEMALE)), "applied") == {"nhs_stated_gender:2": 1}


def test_nobody_answered_is_not_known_in_all_nine() -> None:
    counted = count(*story("applied@0"))
    assert sum(cell.characteristic is not None for cell in counted.cells) == 9
    assert {cell.group for cell in counted.cells} == {None, "unknown:not_known"}


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (1_711_843_199_999, 19_812),  # 2024-03-30T23:59:59.999Z: still winter time
        (1_711_925_999_999, 19_812 + 1),  # 2024-03-31T22:59:59.999Z: summer time, before midnight
        (1_711_926_000_000, 19_812 + 2),  # 2024-03-31T23:00Z is 1 April in London
        (1_729_983_599_999, 20_022),  # 2024-10-26T22:59:59.999Z
        (1_729_983_600_000, 20_023),  # 2024-10-26T23:00Z
        (1_730_073_599_999, 20_023),  # 2024-10-27T23:59:59.999Z: winter time again, a day of 25 hours
        (1_730_073_600_000, 20_024),
    ],
)
def test_days_are_local_days_on_both_sides_of_summer_time(instant: int, day: int) -> None:
    log = InputLog(instant).add([ApplicationEvent("e", "applied", instant, instant, "t", ORGANISATION, "a")])
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert {cell.day for cell in counted.cells} == {day}


def test_every_poison_is_a_dead_letter_once_and_its_neighbours_count() -> None:
    log = InputLog(APPENDED)
    key = ORGANISATION.encode()
    home = partition_of(key, PARTITIONS)
    good = log.codec.encode(event("applied", 0))
    batch = log.codec.encode(TransitionBatch(1, 0, 0, 0, 0, 0, 0, 1, {}, []))
    expected = [
        log.raw(home, key, None) and RejectReason.EMPTY_VALUE,
        log.raw(home, key, b"") and RejectReason.EMPTY_VALUE,
        log.raw(home, key, b"{}" * 9) and RejectReason.WRONG_MAGIC,
        log.raw(home, key, b"\0\0\0\xff\xff" + good[5:]) and RejectReason.UNKNOWN_SCHEMA,
        log.raw(home, key, good[:-30]) and RejectReason.UNDECODABLE,
        log.raw(home, key, good + b"x") and RejectReason.TRAILING_BYTES,
        log.raw(home, key, good + bytes(2_000_000)) and RejectReason.TOO_LARGE,
        log.raw(home, None, good) and RejectReason.MISSING_KEY,
        log.raw(home, b"other", good) and RejectReason.KEY_MISMATCH,
        log.raw((home + 1) % PARTITIONS, key, good) and RejectReason.WRONG_PARTITION,
        log.raw(home, key, batch) and RejectReason.UNEXPECTED_RECORD,
    ]
    log.add([event("applied", 0, app="z")])
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert sorted(one.reason for one in counted.rejected) == sorted(expected)
    assert set(counted.contributions) == {(ORGANISATION, "z")}


@pytest.mark.parametrize(
    ("event_time", "reason"),
    [
        (APPENDED + DAY_MS, None),
        (APPENDED + DAY_MS + 1, RejectReason.FUTURE_EVENT_TIME),
        (DAY_MS - 1, RejectReason.IMPLAUSIBLE_EVENT_TIME),
        (-5, RejectReason.IMPLAUSIBLE_EVENT_TIME),
        (DAY_MS, RejectReason.TOO_LATE),
        (APPENDED - 400 * DAY_MS - 1, RejectReason.TOO_LATE),
        (APPENDED - 400 * DAY_MS, None),
    ],
)
def test_impossible_times_are_dead_letters_of_every_kind_of_record(event_time: int, reason: str | None) -> None:
    records = (
        event("applied", 0)._replace(event_time=event_time),
        answers(0, MALE)._replace(event_time=event_time),
        vacancy("opened", 0)._replace(event_time=event_time),
    )
    assert count(*records).dead_letters == ({reason: 3} if reason else {})


def control(kind: str) -> Control:
    return Control(f"c-{kind}", APPENDED, ORGANISATION, kind)


def test_while_loading_lateness_is_measured_from_the_newest_event_so_far() -> None:
    old, older, newer = (event("applied", day, app=f"a{day}") for day in (-2000, -2401, -1500))
    assert count(control("loading"), old, newer, control("caught_up")).rejected == ()
    assert count(control("loading"), old, older).dead_letters == {"too_late": 1}
    assert count(control("loading"), newer, old).dead_letters == {"too_late": 1}
    assert count(control("loading"), control("caught_up"), old).dead_letters == {"too_late": 1}


def test_records_without_people_count_nothing_and_are_no_dead_letters() -> None:
    action = AlertAction("x", DAY_MS, ORGANISATION, "series", "close")
    assert count(action, control("content")).cells == {}
    assert count(action).rejected == ()


def test_an_application_leaves_400_days_after_its_last_event_and_keeps_its_counts() -> None:
    log = InputLog(NOON).add(
        [*story("applied@0"), *story("applied@0", app="b1"), answers(10, MALE, app="b1")], NOON + 10 * DAY_MS
    )
    at = NOON + 400 * DAY_MS + 60_000
    log.tick(at).add([event("rejected", 400), event("rejected", 400, app="b1"), vacancy("withdrawn", 400)], at)
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert counted.dead_letters == {"too_late": 1}
    assert {c.name for c in counted.contributions[ORGANISATION, "a1"]} == {"applied"}
    assert "overall" in {c.name for c in counted.contributions[ORGANISATION, "b1"]}


def test_linked_applications_leave_together() -> None:
    merge = event("merged", 3, app="a1", merged_into="b1")
    log = InputLog(NOON).add([*story("applied@0"), merge], NOON + 3 * DAY_MS)
    log.add(story("shortlisted@50", app="b1"), NOON + 50 * DAY_MS)
    at = NOON + 420 * DAY_MS
    log.tick(at).add([event("rejected", 419, app="b1"), event("rejected", 419)], at)
    log.tick(NOON + 900 * DAY_MS).add([event("withdrawn", 899)], NOON + 900 * DAY_MS)
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert counted.dead_letters == {"too_late": 1}
    assert everybody(counted, "outcome")["overall"] == ("not_selected", 419)


def test_nobody_leaves_while_their_organisation_is_loading() -> None:
    log = InputLog(NOON).add([control("loading"), *story("applied@0")])
    log.tick(NOON + 500 * DAY_MS).add(story("rejected@300"), NOON + 500 * DAY_MS)
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert counted.rejected == ()
    assert "overall" in everybody(counted, "outcome")


def test_cells_count_people_of_several_applications() -> None:
    counted = count(*story("applied@0"), *story("applied@0", app="b1"), answers(0, MALE))
    everyone = Cell(ORGANISATION, DAY_0, "arrival", "applied", "", None, None)
    men = everyone._replace(characteristic="sex", group="nhs_stated_gender:1")
    assert counted.cells[everyone] == 2
    assert counted.cells[men] == 1
    assert counted.ends == {partition_of(b"RXX", PARTITIONS): 2}


def test_an_archive_out_of_order_is_refused() -> None:
    log = InputLog(APPENDED).add(story("applied@0 rejected@5"))
    with pytest.raises(ArchiveOrderError, match="expected an offset after 1, found 0"):
        recount(log.inputs[::-1], log.codec, partitions=PARTITIONS, timezone="Europe/London")


def test_an_erasure_is_never_late_and_reaches_what_has_left_without_touching_its_counts() -> None:
    log = InputLog(NOON).add(story("applied@0"))
    at = NOON + 500 * DAY_MS
    log.tick(at).add([event("erased", 0), event("rejected", 499)], at)
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert counted.rejected == ()
    assert counted.ignored == {"erased": 1}
    assert everybody(counted, "arrival") == {"applied": 0}


def test_records_of_the_erased_are_no_dead_letters_even_when_late() -> None:
    late = event("applied", -2000)
    assert count(event("erased", 0), late).rejected == ()
    assert count(late).dead_letters == {"too_late": 1}


def test_what_has_left_is_closed_to_merging() -> None:
    log = InputLog(NOON).add(story("applied@0"))
    at = NOON + 500 * DAY_MS
    merge = event("merged", 499, app="b1", merged_into="a1")
    log.tick(at).add([*story("applied@490 rejected@495", app="b1"), merge], at)
    counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
    assert {c.name for c in counted.contributions[ORGANISATION, "b1"]} == {"applied", "shortlisting", "overall"}


def test_an_event_from_the_near_future_does_not_make_the_present_late_while_loading() -> None:
    ahead = event("applied", 301, app="b1")
    old = event("applied", -100)
    assert count(control("loading"), ahead, old).rejected == ()
