"""The outcome table of the design, row by row, and the rules around it."""

import pytest

from pipeline.domain.facts import ApplicationFacts, with_event
from pipeline.domain.records import ApplicationEvent
from pipeline.domain.steps import VacancyFacts, contributions

DAY_MS = 86_400_000
OPEN = VacancyFacts()


def events(*happened: str | tuple[str, dict]) -> tuple:
    """One event a day, from day 100 on; a tuple gives further fields."""
    facts = ApplicationFacts()
    for number, item in enumerate(happened):
        kind, more = (item, {}) if isinstance(item, str) else item
        at = more.pop("day", 100 + number) * DAY_MS
        facts = with_event(facts, ApplicationEvent(f"e{number:02}", kind, at, at, "test", "R1H", "a", **more))
    return facts.events


def found(happened, vacancy=OPEN, kind="outcome"):
    return {
        item.name: (item.outcome, item.day) if kind == "outcome" else (item.implied, item.day)
        for item in contributions(happened, vacancy, lambda ms: ms // DAY_MS)
        if item.kind == kind
    }


def outcomes(*happened, vacancy=OPEN):
    return {name: outcome for name, (outcome, _) in found(events(*happened), vacancy).items()}


SHORT, OFFER = ("applied", "shortlisted"), ("applied", "shortlisted", "offered")
HIRED = (*OFFER, "offer_accepted")


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        pytest.param(("applied", "rejected"), ("not_selected", None, None, None, None), id="rejected at sift"),
        pytest.param(("applied", "withdrawn"), ("withdrew", None, None, None, None), id="withdrew before shortlist"),
        pytest.param(
            (*SHORT, "rejected"),
            ("selected", "not_selected", None, "not_selected", None),
            id="rejected after shortlist",
        ),
        pytest.param((*SHORT, "reserved"), ("selected", "not_selected", None, "not_selected", None), id="reserve"),
        pytest.param(
            (*SHORT, "reserved", "offered", "offer_accepted"),
            ("selected", "selected", "selected", "selected", None),
            id="reserve, later appointed",
        ),
        pytest.param((*SHORT, "did_not_attend"), ("selected", "withdrew", None, "withdrew", None), id="did not attend"),
        pytest.param(
            (*OFFER, "offer_declined"), ("selected", "selected", "withdrew", "withdrew", None), id="offered, declined"
        ),
        pytest.param(
            (*OFFER, "offer_withdrawn"),
            ("selected", "selected", "not_selected", "not_selected", None),
            id="employer withdraws the offer",
        ),
        pytest.param(
            (*OFFER, "rejected"),
            ("selected", "selected", "not_selected", "not_selected", None),
            id="rejected before acceptance",
        ),
        pytest.param(
            (*HIRED, "rejected"),
            ("selected", "selected", "selected", "selected", "not_selected"),
            id="accepted, check fails",
        ),
        pytest.param(
            (*HIRED, "withdrawn"),
            ("selected", "selected", "selected", "selected", "withdrew"),
            id="accepted, withdraws",
        ),
        pytest.param((*HIRED, "started"), ("selected", "selected", "selected", "selected", "selected"), id="started"),
    ],
)
def test_outcome_table(happened, expected):
    counted = outcomes(*happened)
    steps = ("shortlisting", "interview", "offer", "appointment", "onboarding")
    assert tuple(counted.get(step) for step in steps) == expected


def test_vacancy_withdrawn_while_pending_voids_every_step_entered():
    withdrawn = VacancyFacts(withdrawn_at=150 * DAY_MS)
    assert found(events(*SHORT), withdrawn) == {
        "shortlisting": ("selected", 101),
        "interview": ("void", 150),
        "appointment": ("void", 150),
        "overall": ("void", 150),
    }


def test_overall_follows_the_sift_then_the_appointment():
    assert outcomes("applied", "rejected")["overall"] == "not_selected"
    assert outcomes("applied", "withdrawn")["overall"] == "withdrew"
    assert outcomes(*OFFER, "offer_declined")["overall"] == "withdrew"
    assert outcomes(*HIRED)["overall"] == "selected"


def test_repeat_within_a_run_changes_nothing():
    assert found(events(*SHORT, "shortlisted", "shortlisted")) == found(events(*SHORT))


def test_rejection_stands_until_reinstated_or_overtaken():
    assert outcomes("applied", "rejected", "applied")["shortlisting"] == "not_selected"
    assert "shortlisting" not in outcomes("applied", "rejected", "reinstated")
    assert outcomes("applied", "rejected", "shortlisted")["shortlisting"] == "selected"


def test_stage_of_the_same_moment_does_not_overtake_a_rejection():
    same = events("applied", ("rejected", {"day": 105}), ("shortlisted", {"day": 105}))
    assert found(same)["interview"] == ("not_selected", 105)


def test_new_offer_after_a_declined_one_counts_the_offer_again_and_keeps_the_interview_day():
    counted = found(events(*OFFER, "offer_declined", "offered", "offer_accepted"))
    assert counted["interview"] == ("selected", 102)
    assert counted["offer"] == ("selected", 105)


def test_reissued_offer_letter_moves_nothing():
    assert found(events(*OFFER, "offered")) == found(events(*OFFER))


def test_hire_undone_takes_acceptance_and_start_back():
    assert outcomes(*HIRED, "started", "hire_undone") == {"shortlisting": "selected", "interview": "selected"}


def test_onboarding_beyond_its_horizon_is_left_out():
    assert "onboarding" in outcomes(*HIRED, ("started", {"day": 103 + 180}))
    assert "onboarding" not in outcomes(*HIRED, ("started", {"day": 103 + 181}))


def test_implied_stage_is_an_arrival_but_no_outcome():
    happened = events("applied", "offered", "offer_accepted")
    assert found(happened, kind="arrival")["shortlisted"] == (True, 101)
    assert found(happened) == {"offer": ("selected", 102), "overall": ("selected", 102)}


def test_record_of_an_application_is_evidence_that_it_was_made():
    assert found(events("check_updated"), kind="arrival") == {"applied": (False, 100)}


def test_longlisting_counts_only_where_it_is_used_or_named():
    assert "longlisting" not in outcomes("applied", "rejected")
    assert outcomes("applied", ("rejected", {"stage": "longlisted"}))["longlisting"] == "not_selected"
    assert outcomes("applied", "rejected", vacancy=VacancyFacts(longlisting_used=True)) == {
        "longlisting": "not_selected",
        "shortlisting": "not_selected",
        "overall": "not_selected",
    }


def test_events_of_one_action_count_once():
    action = {"action_id": "hire-1"}
    offers = [("offered", {**action, "day": 105}), ("offered", {**action, "day": 106})]
    assert found(events(*SHORT, *offers), kind="arrival")["offered"] == (False, 105)
