"""Claims about ratios: the published numbers come out, and nothing undefined ever looks like a number."""

import json
import math
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.domain import ratios
from pipeline.domain.ratios import ImpossibleTableError, Interval, Table

VECTORS = Path(__file__).parents[2] / "vectors"
PUBLISHED = json.loads((VECTORS / "ratios.json").read_text(encoding="utf-8"))["tables"]
BERKELEY = json.loads((VECTORS / "berkeley.json").read_text(encoding="utf-8"))
LONDON = json.loads((VECTORS / "london_doctors.json").read_text(encoding="utf-8"))

TWO_GROUPS = [
    ratios.impact_ratio,
    ratios.inverse_ratio,
    ratios.adverse_outcome_ratio,
    ratios.risk_difference,
    ratios.fails_four_fifths,
    ratios.katz,
    ratios.adjusted_log,
    ratios.koopman,
    ratios.wald_with_correction,
    ratios.newcombe,
    ratios.fisher_p,
]
tables = st.builds(Table, *[st.integers(0, 60)] * 4)
full_tables = st.builds(Table, *[st.integers(1, 60)] * 4)


def is_printed_as(value: float, printed: str | float) -> bool:
    """Tell whether a value rounds to the digits that the source prints (strings), or equals a full-precision number."""
    if not isinstance(printed, str):
        return math.isclose(value, printed, rel_tol=1e-7)
    digits = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5000001 * 10**-digits


def department_tables() -> list[Table]:
    return [
        Table(d["women"][0], d["women"][1] - d["women"][0], d["men"][0], d["men"][1] - d["men"][0])
        for d in BERKELEY["departments"].values()
    ]


def london_table(step: list[str], groups: list[str]) -> Table:
    entered, selected = (sum(LONDON["counts"][g][s] for g in groups) for s in step)
    white = LONDON["counts"]["White"]
    return Table(selected, entered - selected, white[step[1]], white[step[0]] - white[step[1]])


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda v: v["id"])
def test_published_tables_give_the_published_numbers(vector: dict[str, Any]) -> None:
    table = Table(*vector["table"])
    for name, expected in vector["expect"].items():
        found = getattr(ratios, name)(table)
        for value, printed in zip(found, expected, strict=True) if isinstance(expected, list) else [(found, expected)]:
            assert is_printed_as(value, printed), (name, value, printed)
    if "fails_four_fifths" in vector:
        assert ratios.fails_four_fifths(table) is vector["fails_four_fifths"]


@pytest.mark.parametrize("vector", LONDON["derived"], ids=lambda v: "-".join([*v["step"], *v["groups"]]))
def test_london_doctors_ratios_come_out_to_four_decimals(vector: dict[str, Any]) -> None:
    table = london_table(vector["step"], vector["groups"])
    ratio = ratios.inverse_ratio(table)
    assert ratio is not None
    assert is_printed_as(ratio, vector["inverse_ratio"])
    if "interval" in vector:
        katz = ratios.katz(table)
        assert katz is not None
        assert katz.high is not None
        assert is_printed_as(1 / katz.high, vector["interval"][0])
        assert is_printed_as(1 / katz.low, vector["interval"][1])


def test_overall_ratio_is_the_product_of_the_steps_on_cohort_counts() -> None:
    steps = [["applied", "shortlisted"], ["shortlisted", "offered"], ["applied", "offered"]]
    first, second, overall = (ratios.impact_ratio(london_table(step, ["Black"])) for step in steps)
    assert first is not None
    assert second is not None
    assert first * second == pytest.approx(overall, rel=1e-12)


def test_berkeley_crude_ratio_is_adverse_and_the_ratio_within_departments_is_not() -> None:
    departments = department_tables()
    crude = Table(
        *(
            sum(column)
            for column in zip(
                *[
                    (t.focal_selected, t.focal_not_selected, t.reference_selected, t.reference_not_selected)
                    for t in departments
                ],
                strict=True,
            )
        )
    )
    ratio, katz = ratios.impact_ratio(crude), ratios.katz(crude)
    assert ratio is not None
    assert katz is not None
    assert katz.high is not None
    assert is_printed_as(ratio, BERKELEY["crude"]["impact_ratio"])
    assert is_printed_as(katz.low, BERKELEY["crude"]["katz"][0])
    assert is_printed_as(katz.high, BERKELEY["crude"]["katz"][1])
    assert ratios.fails_four_fifths(crude) is True

    pooled, expected = ratios.mantel_haenszel_ratio(departments), BERKELEY["pooled"]
    assert pooled is not None
    assert pooled.log_standard_error is not None
    assert pooled.interval is not None
    assert pooled.interval.high is not None
    assert is_printed_as(pooled.ratio, expected["mantel_haenszel_ratio"])
    assert is_printed_as(pooled.log_standard_error, expected["log_standard_error"])
    assert is_printed_as(pooled.interval.low, expected["interval"][0])
    assert is_printed_as(pooled.interval.high, expected["interval"][1])
    shortfall = ratios.shortfall(departments)
    assert shortfall is not None
    assert is_printed_as(shortfall, expected["shortfall"])


def test_the_order_of_strata_changes_no_digit() -> None:
    departments = department_tables()
    assert len({ratios.mantel_haenszel_ratio(order) for order in permutations(departments)}) == 1
    assert len({ratios.shortfall(order) for order in permutations(departments)}) == 1


def test_exactly_four_fifths_passes_in_every_table_where_floats_would_fail_it() -> None:
    misjudged = 0
    for focal, reference in product(range(1, 61), repeat=2):
        for selected in range(1, reference + 1):
            numerator = 4 * selected * focal
            if numerator % (5 * reference):
                continue
            table = Table(
                numerator // (5 * reference), focal - numerator // (5 * reference), selected, reference - selected
            )
            assert ratios.fails_four_fifths(table) is False
            misjudged += (table.focal_selected / focal) / (selected / reference) < 0.8
    assert misjudged == 1198


@pytest.mark.parametrize("counts", list(product([0, 1, 7], repeat=4)))
def test_nothing_undefined_looks_like_a_number(counts: tuple[int, int, int, int]) -> None:
    table = Table(*counts)
    for measure in TWO_GROUPS:
        value = measure(table)
        for number in value if isinstance(value, Interval) else (value,):
            assert number is None or math.isfinite(number), measure.__name__
    pooled = ratios.mantel_haenszel_ratio([table])
    assert pooled is None or math.isfinite(pooled.ratio)


def test_an_empty_group_leaves_everything_undefined_but_the_exact_test() -> None:
    table = Table(0, 0, 5, 5)
    assert [measure(table) for measure in TWO_GROUPS] == [None] * (len(TWO_GROUPS) - 1) + [1.0]
    assert ratios.mantel_haenszel_ratio([table]) is None
    assert ratios.shortfall([table]) is None
    assert ratios.rate(0, 0) is None
    assert ratios.mantel_haenszel_ratio([]) is None


def test_nobody_of_the_focal_group_selected_is_ratio_zero_with_an_upper_limit() -> None:
    table = Table(0, 12, 30, 70)
    assert ratios.impact_ratio(table) == 0
    assert ratios.inverse_ratio(table) is None
    assert ratios.fails_four_fifths(table) is True
    assert ratios.katz(table) is None
    koopman = ratios.koopman(table)
    assert koopman is not None
    assert koopman.low == 0
    assert koopman.high is not None
    assert 0 < koopman.high < 1
    assert ratios.mantel_haenszel_ratio([table]) == ratios.PooledRatio(0.0, None, None)


def test_nobody_of_the_reference_group_selected_leaves_the_score_interval_open_above() -> None:
    koopman = ratios.koopman(Table(5, 5, 0, 20))
    assert koopman is not None
    assert koopman.low > 1
    assert koopman.high is None
    assert ratios.fails_four_fifths(Table(5, 5, 0, 20)) is None


def test_a_round_that_took_everyone_or_nobody_leaves_the_shortfall_as_it_was() -> None:
    informative = Table(2, 8, 6, 4)
    assert ratios.shortfall([informative, Table(3, 0, 9, 0), Table(0, 4, 0, 2)]) == ratios.shortfall([informative])


def test_the_size_of_failures_shows_what_the_ratio_hides_where_nearly_everybody_passes() -> None:
    table = Table(85, 15, 95, 5)
    assert ratios.impact_ratio(table) == pytest.approx(0.8947, abs=5e-5)
    assert ratios.adverse_outcome_ratio(table) == 3


def test_the_corrected_wald_interval_stays_within_minus_one_and_one() -> None:
    assert ratios.wald_with_correction(Table(0, 3, 2, 0)) == Interval(-1.0, pytest.approx(-1 + 5 / 12))
    low, high = ratios.wald_with_correction(Table(12, 28, 48, 32)) or (0, 0)
    half = 1.959964 * math.sqrt(0.3 * 0.7 / 40 + 0.6 * 0.4 / 80) + (1 / 40 + 1 / 80) / 2
    assert (low, high) == (pytest.approx(-0.3 - half, abs=1e-6), pytest.approx(-0.3 + half, abs=1e-6))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ImpossibleTableError, match="at least 0"):
        Table(1, 2, -1, 3)


@given(tables)
def test_the_exact_test_is_that_of_scipy(table: Table) -> None:
    rows = [
        [table.focal_selected, table.focal_not_selected],
        [table.reference_selected, table.reference_not_selected],
    ]
    assert ratios.fisher_p(table) == pytest.approx(stats.fisher_exact(rows).pvalue, rel=1e-9)


def test_the_exact_test_keeps_its_precision_at_national_size() -> None:
    table = Table(11_820, 88_180, 12_100, 87_900)
    exact = stats.fisher_exact([[11_820, 88_180], [12_100, 87_900]]).pvalue
    assert ratios.fisher_p(table) == pytest.approx(exact, rel=1e-6)


@given(full_tables)
def test_every_interval_holds_its_estimate_and_turns_over_with_the_groups(table: Table) -> None:
    turned = Table(
        table.reference_selected, table.reference_not_selected, table.focal_selected, table.focal_not_selected
    )
    for interval in (ratios.katz, ratios.koopman, ratios.adjusted_log):
        one, other = interval(table), interval(turned)
        assert one is not None
        assert other is not None
        assert one.high is not None
        assert other.high is not None
        assert one.low == pytest.approx(1 / other.high, rel=1e-9)
        assert one.high == pytest.approx(1 / other.low, rel=1e-9)
    ratio, koopman = ratios.impact_ratio(table), ratios.koopman(table)
    assert ratio is not None
    assert koopman is not None
    assert koopman.high is not None
    assert koopman.low <= ratio <= koopman.high
    difference, newcombe = ratios.risk_difference(table), ratios.newcombe(table)
    assert difference is not None
    assert newcombe is not None
    assert newcombe.high is not None
    assert -1 <= newcombe.low <= difference <= newcombe.high <= 1


@given(full_tables)
def test_one_stratum_pools_to_the_crude_ratio_with_the_katz_interval(table: Table) -> None:
    pooled, katz = ratios.mantel_haenszel_ratio([table]), ratios.katz(table)
    assert pooled is not None
    assert pooled.interval is not None
    assert katz is not None
    assert pooled.ratio == pytest.approx(ratios.impact_ratio(table), rel=1e-12)
    assert pooled.interval == pytest.approx(katz, rel=1e-9)


@given(full_tables, st.floats(0.5, 0.9))
def test_less_confidence_is_a_narrower_interval(table: Table, confidence: float) -> None:
    wide, narrow = ratios.koopman(table), ratios.koopman(table, confidence)
    assert wide is not None
    assert narrow is not None
    assert wide.high is not None
    assert narrow.high is not None
    assert wide.low < narrow.low < narrow.high < wide.high
