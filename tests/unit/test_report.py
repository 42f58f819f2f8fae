"""The ratios report against published tables, and its shape that scripts rely on."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.domain.ratios import Table, katz, mantel_haenszel_ratio
from pipeline.errors import TerminalError
from pipeline.reference import code_lists
from pipeline.report.ratios import NOTICE, RatiosReport, report_ratios
from pipeline.report.rows import RatioRow
from pipeline.report.text import print_ratios

VECTORS = Path(__file__).parent.parent / "vectors"
MALE, FEMALE = "nhs_stated_gender:1", "nhs_stated_gender:2"
KEYS = [
    *("group", "selected", "not_selected", "withdrew", "rate", "impact_ratio", "inverse_ratio", "katz"),
    *("koopman", "risk_difference", "wald_cc", "newcombe", "fisher_p", "mantel_haenszel_ratio", "shortfall"),
]


class RecordedHistory:
    """Answers with given rows, and remembers what it was asked."""

    def __init__(self, **answers: list[tuple[Any, ...]]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        self.asked.append((name, params))
        if name == "stage_arrivals":
            keys = ("vacancy_id", "group", "people")
            return [dict(zip(keys, row, strict=True)) for row in self._answers[params["stage"]]]
        keys = ("vacancy_id", "group", "outcome", "people")
        return [dict(zip(keys, row, strict=True)) for row in self._answers[name]]


def report(history: RecordedHistory, **wanted: Any) -> RatiosReport:
    asked = {"organisation": "RXX", "step": "shortlisting", "characteristic": "sex", "reference": "men", **wanted}
    return report_ratios(history, code_lists=code_lists(), **asked)


def rows(made: RatiosReport) -> dict[str, RatioRow]:
    return {row.group: row for row in made.rows}


def berkeley() -> RecordedHistory:
    departments = json.loads((VECTORS / "berkeley.json").read_text())["departments"]
    outcomes = []
    for department, sexes in departments.items():
        for word, group in (("men", MALE), ("women", FEMALE)):
            admitted, applied = sexes[word]
            outcomes += [
                (department, group, "selected", admitted),
                (department, group, "not_selected", applied - admitted),
            ]
    return RecordedHistory(step_outcomes=outcomes)


def test_berkeley_is_unfair_to_women_in_sum_and_fair_over_departments() -> None:
    women = rows(report(berkeley()))[FEMALE]
    assert (women.selected, women.not_selected, women.withdrew) == (557, 1278, 0)
    assert women.impact_ratio == pytest.approx(0.6818, abs=5e-5)
    assert women.katz == pytest.approx((0.6287, 0.7395), abs=5e-5)
    assert women.mantel_haenszel_ratio == pytest.approx(1.058307, abs=5e-7)
    assert women.shortfall == pytest.approx(-15.357, abs=5e-4)


def london() -> RecordedHistory:
    counts = json.loads((VECTORS / "london_doctors.json").read_text())["counts"]
    return RecordedHistory(
        **{
            stage: [(None, f"local:broad_ethnic_group:{group}", by_stage[stage]) for group, by_stage in counts.items()]
            for stage in ("applied", "shortlisted", "offered")
        }
    )


def test_london_doctors_reproduce_the_published_ratios_in_return_form() -> None:
    ethnicity = {"characteristic": "ethnicity", "reference": "White", "form": "return"}
    interview = rows(report(london(), step="interview", **ethnicity))
    assert interview["Black"].inverse_ratio == pytest.approx(2.6659, abs=5e-5)
    assert interview["BME"].inverse_ratio == pytest.approx(2.0780, abs=5e-5)
    whole = rows(report(london(), step="applied-offered", **ethnicity))
    assert whole["Black"].inverse_ratio == pytest.approx(5.9762, abs=5e-5)
    assert whole["Black"].mantel_haenszel_ratio is None
    assert whole["Black"].shortfall == pytest.approx((1148 + 188) * 15515 / (15515 + 15853) - 188)


def test_json_has_the_documented_keys_in_their_order() -> None:
    made = report(berkeley(), from_day=1000, to_day=1365).to_json()
    assert list(made) == ["organisation", "step", "form", "characteristic", "reference", "from", "to", "rows"]
    assert [made[key] for key in ("step", "form", "reference", "from", "to")] == [
        *("shortlisting", "decision", MALE),
        *("1972-09-27", "1973-09-27"),
    ]
    assert all(list(row) == KEYS for row in made["rows"])
    assert json.loads(json.dumps(made)) == made
    assert made["rows"][1]["katz"] == pytest.approx([0.6287, 0.7395], abs=5e-5)


def test_an_open_period_is_null() -> None:
    made = report(berkeley()).to_json()
    assert made["from"] is made["to"] is None


def test_every_group_reference_and_unknown_has_a_row_in_a_fixed_order() -> None:
    history = RecordedHistory(
        step_outcomes=[
            ("v1", "unknown:declined", "not_selected", 3),
            ("v1", "nhs_ethnic_category:M", "selected", 2),
            ("v1", "nhs_ethnic_category:H", "withdrew", 1),
            ("v1", "local:trust_list:9", "not_selected", 1),
            ("v1", "unknown:withdrawn", "selected", 1),
            ("v1", "nhs_ethnic_category:H", "void", 7),
        ]
    )
    made = report(history, characteristic="ethnicity", reference="A")
    assert [row.group for row in made.rows] == [
        *("nhs_ethnic_category:A", "nhs_ethnic_category:H", "nhs_ethnic_category:M", "local:trust_list:9"),
        *("unknown:declined", "unknown:withdrawn"),
    ]
    assert rows(made)["nhs_ethnic_category:H"] == RatioRow("nhs_ethnic_category:H", 0, 0, 1, None)


ETHNIC = RecordedHistory(
    step_outcomes=[
        ("v1", "nhs_ethnic_category:A", "selected", 30),
        ("v1", "nhs_ethnic_category:A", "not_selected", 20),
        ("v1", "nhs_ethnic_category:C", "selected", 4),
        ("v1", "nhs_ethnic_category:C", "not_selected", 6),
        ("v1", "nhs_ethnic_category:M", "selected", 5),
        ("v1", "nhs_ethnic_category:M", "not_selected", 15),
        ("v2", "nhs_ethnic_category:H", "selected", 5),
        ("v2", "nhs_ethnic_category:H", "not_selected", 5),
    ]
)


def test_a_pooled_reference_adds_the_pooled_groups_beside_it() -> None:
    made = rows(report(ETHNIC, characteristic="ethnicity", reference="White"))
    assert (made["White"].selected, made["White"].not_selected) == (34, 26)
    assert (made["BME"].selected, made["BME"].not_selected) == (10, 20)
    assert made["BME"].impact_ratio == pytest.approx((10 / 30) / (34 / 60))
    assert made["Black"].katz == katz(Table(5, 15, 34, 26))


def test_a_pooled_reference_leaves_the_group_itself_out() -> None:
    other_white = rows(report(ETHNIC, characteristic="ethnicity", reference="White"))["nhs_ethnic_category:C"]
    assert other_white.impact_ratio == pytest.approx((4 / 10) / (30 / 50))


def test_a_pooled_group_can_be_asked_for_beside_a_single_reference() -> None:
    made = rows(report(ETHNIC, characteristic="ethnicity", reference="White British", groups=["BME"]))
    assert made["BME"].impact_ratio == pytest.approx((10 / 30) / (30 / 50))


def test_rounds_are_compared_within_themselves_and_only_where_both_groups_are() -> None:
    made = rows(report(ETHNIC, characteristic="ethnicity", reference="White"))
    assert made["BME"].mantel_haenszel_ratio == mantel_haenszel_ratio([Table(5, 15, 34, 26)]).ratio  # type: ignore[union-attr]
    assert made["Asian"].mantel_haenszel_ratio is None
    assert made["Asian"].shortfall is None


def test_the_reference_beside_itself_is_one_without_an_interval() -> None:
    men = rows(report(berkeley()))[MALE]
    assert (men.impact_ratio, men.inverse_ratio, men.risk_difference) == (1.0, 1.0, 0.0)
    assert men.katz is men.koopman is men.fisher_p is men.mantel_haenszel_ratio is None


def test_an_empty_period_has_a_row_of_the_reference_and_nothing_defined() -> None:
    made = report(RecordedHistory(step_outcomes=[]))
    assert made.rows == (RatioRow(MALE, 0, 0, 0, None),)


def test_nobody_selected_of_a_group_has_a_ratio_of_zero_and_a_finite_bound() -> None:
    history = RecordedHistory(
        step_outcomes=[
            ("v1", MALE, "selected", 50),
            ("v1", MALE, "not_selected", 50),
            ("v1", FEMALE, "not_selected", 80),
        ]
    )
    women = rows(report(history))[FEMALE]
    assert women.impact_ratio == 0.0
    assert women.inverse_ratio is women.katz is None
    assert women.koopman is not None
    assert women.koopman.low == 0.0
    assert women.mantel_haenszel_ratio == 0.0


@pytest.mark.parametrize("step", ["wres2", "wdes2"])
def test_the_statutory_figure_compares_arrivals_and_drops_nobody(step: str) -> None:
    history = RecordedHistory(
        shortlisted=[("v1", MALE, 40), ("v1", FEMALE, 40)], accepted=[("v1", MALE, 10), ("v1", FEMALE, 5)]
    )
    made = report(history, step=step)
    assert (made.step, made.form) == (step, "return")
    women = rows(made)[FEMALE]
    assert (women.selected, women.not_selected, women.withdrew) == (5, 35, None)
    assert women.inverse_ratio == 2.0
    assert women.mantel_haenszel_ratio == 0.5


def test_more_arrivals_than_entries_in_a_short_period_still_give_a_ratio_but_no_interval() -> None:
    history = RecordedHistory(
        shortlisted=[("v1", MALE, 4), ("v1", FEMALE, 2)], accepted=[("v1", MALE, 2), ("v1", FEMALE, 3)]
    )
    women = rows(report(history, step="wres2"))[FEMALE]
    assert (women.rate, women.impact_ratio) == (1.5, 3.0)
    assert women.katz is women.mantel_haenszel_ratio is women.fisher_p is None


def test_history_is_asked_for_the_population_and_period() -> None:
    history = RecordedHistory(step_outcomes=[])
    report(history, population="core", from_day=5, to_day=9)
    assert history.asked == [
        (
            "step_outcomes",
            {
                "organisation": ["RXX"],
                "step": "shortlisting",
                "characteristic": "sex",
                "population": "core",
                "from_day": 5,
                "to_day": 9,
            },
        )
    ]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"step": "sifting"}, "expected a step .*'sifting'"),
        ({"step": "offered-applied"}, "expected a step"),
        ({"step": "wres2", "form": "decision"}, "expected --form return"),
        ({"form": "cohort"}, "expected --form to be one of decision, return, found 'cohort'"),
        ({"population": "everyone"}, "expected --population"),
        ({"characteristic": "height"}, "expected a characteristic"),
        ({"reference": "martians"}, "expected a group of sex"),
    ],
)
def test_a_wrong_word_says_what_was_expected(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(TerminalError, match=words):
        report(berkeley(), **wanted)


def test_the_table_is_for_a_person_and_the_notice_goes_to_standard_error() -> None:
    out, notes = io.StringIO(), io.StringIO()
    print_ratios(report(berkeley()), code_lists().label, Console(file=out, width=160), Console(file=notes, width=160))
    assert "0.6818" in out.getvalue()
    assert "1.0583" in out.getvalue()
    assert "Female" in out.getvalue()
    assert notes.getvalue().strip() == NOTICE
