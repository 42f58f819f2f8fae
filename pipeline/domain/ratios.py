"""What a two-by-two table of selections says: ratios, differences, their intervals, the part of chance.

These numbers describe a finished period. None of them decides an alert: looked at again and again they would
raise false ones (``evidence`` decides). Whatever is undefined is ``None``; no function returns NaN or
infinity. Two groups are compared: the *focal* one is named first, and a ratio below 1 is adverse to it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import TerminalError

CONFIDENCE: Final = 0.95

_SAME_PROBABILITY: Final = 1 + 1e-7  # tables this close count as equally likely, as in R's fisher.test
_BISECTIONS: Final = 60  # halves a bracket of 16 to 1e-17: below what a double resolves


class ImpossibleTableError(TerminalError):
    """A table with a negative count: the counts it was made from do not belong together."""

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = counts
        super().__init__(f"expected four counts of at least 0, found {counts}")


class Interval(NamedTuple):
    """A confidence interval; ``high`` is ``None`` where it has no upper bound."""

    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Decided people of two groups, selected or not; withdrawn people and unknown answers are not in it."""

    focal_selected: int
    focal_not_selected: int
    reference_selected: int
    reference_not_selected: int

    def __post_init__(self) -> None:
        counts = (
            self.focal_selected,
            self.focal_not_selected,
            self.reference_selected,
            self.reference_not_selected,
        )
        if min(counts) < 0:
            raise ImpossibleTableError(counts)

    @property
    def focal(self) -> int:
        """People of the focal group."""
        return self.focal_selected + self.focal_not_selected

    @property
    def reference(self) -> int:
        """People of the reference group."""
        return self.reference_selected + self.reference_not_selected

    @property
    def selected(self) -> int:
        """Selected people of both groups."""
        return self.focal_selected + self.reference_selected

    @property
    def people(self) -> int:
        """People of both groups."""
        return self.focal + self.reference


@dataclass(frozen=True, slots=True)
class PooledRatio:
    """A ratio pooled over strata, its standard error on the log scale and interval (``None`` at zero)."""

    ratio: float
    log_standard_error: float | None
    interval: Interval | None


def rate(selected: int, not_selected: int) -> float | None:
    """Return the share selected of those decided; ``None`` if nobody was."""
    return _divide(selected, selected + not_selected)


def impact_ratio(table: Table) -> float | None:
    """Return the selection rate of the focal group over that of the reference group.

    Source: 29 CFR 1607.4 D (Uniform Guidelines on Employee Selection Procedures, 1978).

    Examples:
        >>> impact_ratio(Table(24, 26, 48, 32))
        0.8
    """
    return _divide(table.focal_selected * table.reference, table.reference_selected * table.focal)


def inverse_ratio(table: Table) -> float | None:
    """Return the reference group's rate over the focal group's: the NHS direction, adverse above 1.

    Source: NHS England, WRES technical guidance, indicator 2; WDES technical guidance, metric 2 (2023).

    Examples:
        >>> inverse_ratio(Table(24, 26, 48, 32))
        1.25
    """
    return _divide(table.reference_selected * table.focal, table.focal_selected * table.reference)


def adverse_outcome_ratio(table: Table) -> float | None:
    """Return the focal group's rate of not being selected over the reference group's.

    It sees what the impact ratio cannot where nearly everybody passes: rates of 0.85 and 0.95 have the impact
    ratio 0.89 and three times the failures.

    Source: Morris and Lobsenz, Personnel Psychology 53, 2000 (the choice of outcome changes a ratio).
    """
    return _divide(table.focal_not_selected * table.reference, table.reference_not_selected * table.focal)


def risk_difference(table: Table) -> float | None:
    """Return the focal group's selection rate minus the reference group's."""
    if not table.focal or not table.reference:
        return None
    return table.focal_selected / table.focal - table.reference_selected / table.reference


def fails_four_fifths(table: Table) -> bool | None:
    """Tell whether the focal group's rate is below four fifths of the reference group's; exactly 4/5 passes.

    Compared in integers: in floating point 2/3 against 5/6 is 0.7999999999999999. ``None`` where the ratio is
    undefined.

    Source: 29 CFR 1607.4 D: "less than four-fifths (4/5) (or eighty percent)".

    Examples:
        >>> fails_four_fifths(Table(2, 1, 5, 1)), fails_four_fifths(Table(21, 29, 48, 32))
        (False, True)
    """
    if not table.focal or not table.reference_selected:
        return None
    return 5 * table.focal_selected * table.reference < 4 * table.reference_selected * table.focal


def katz(table: Table, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the log interval of the impact ratio; ``None`` if nobody of a group was selected.

    Source: Katz, Baptista, Azen and Pike, Biometrics 34:469, 1978.
    """
    if not table.focal_selected or not table.reference_selected:
        return None
    ratio = impact_ratio(table)
    assert ratio is not None
    return _log_interval(ratio, math.sqrt(_log_variance(table, 0.0)), confidence)


def adjusted_log(table: Table, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the log interval with half a person added to each group; finite when nobody was selected.

    Source: Walter, Biometrika 62:371, 1975; as "adjusted log" in Fagerland, Lydersen and Laake, Statistical
    Methods in Medical Research 24:224, 2015.
    """
    if not table.focal or not table.reference:
        return None
    focal = (table.focal_selected + 0.5) / (table.focal + 0.5)
    reference = (table.reference_selected + 0.5) / (table.reference + 0.5)
    variance = max(0.0, _log_variance(table, 0.5))
    return _log_interval(focal / reference, math.sqrt(variance), confidence)


def koopman(table: Table, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the asymptotic score interval of the impact ratio, the one to display.

    It stays near its nominal coverage in small groups and has a bound where Katz has none: if nobody of the
    reference group was selected only ``high`` is ``None``. ``None`` if nobody at all was selected or a group
    is empty.

    Source: Koopman, Biometrics 40:513, 1984.

    Examples:
        >>> low, high = koopman(Table(36, 4, 16, 64))
        >>> round(low, 4), round(high, 4)
        (2.9396, 7.1522)
    """
    if not table.focal or not table.reference or not table.selected:
        return None
    z = _quantile(confidence)
    low = _root(lambda log_ratio: _score(table, math.exp(log_ratio)) - z) if table.focal_selected else 0.0
    high = _root(lambda log_ratio: _score(table, math.exp(log_ratio)) + z) if table.reference_selected else None
    return Interval(low, high)


def wald_with_correction(table: Table, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the Wald interval of the risk difference with continuity correction, within [-1, 1].

    Source: Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 3rd edition, section 3.2,
    2003.
    """
    difference = risk_difference(table)
    if difference is None:
        return None
    focal, reference = table.focal_selected / table.focal, table.reference_selected / table.reference
    variance = focal * (1 - focal) / table.focal + reference * (1 - reference) / table.reference
    width = _quantile(confidence) * math.sqrt(variance) + (1 / table.focal + 1 / table.reference) / 2
    return Interval(max(-1.0, difference - width), min(1.0, difference + width))


def newcombe(table: Table, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the hybrid score interval of the risk difference, without continuity correction.

    Source: Newcombe, Statistics in Medicine 17:873, 1998, method 10.
    """
    difference = risk_difference(table)
    if difference is None:
        return None
    z = _quantile(confidence)
    focal, reference = table.focal_selected / table.focal, table.reference_selected / table.reference
    focal_low, focal_high = _wilson(table.focal_selected, table.focal, z)
    reference_low, reference_high = _wilson(table.reference_selected, table.reference, z)
    return Interval(
        difference - math.hypot(focal - focal_low, reference_high - reference),
        difference + math.hypot(focal_high - focal, reference - reference_low),
    )


def fisher_p(table: Table) -> float:
    """Return the two-sided p-value of Fisher's exact test.

    It is the probability of all tables as unlikely as this one or more, given its margins; one if only one
    table is possible. For a finished period only; not valid when looked at repeatedly.

    Source: Fisher, Journal of the Royal Statistical Society 98:39, 1935; sides as in scipy.stats.fisher_exact
    and R.

    Examples:
        >>> round(fisher_p(Table(3, 1, 1, 3)), 8)
        0.48571429
    """
    first, weights = _hypergeometric_weights(table)
    own = weights[table.focal_selected - first]
    p = float(weights[weights <= own * _SAME_PROBABILITY].sum() / weights.sum())
    return min(p, 1.0)


def mantel_haenszel_ratio(strata: Iterable[Table], confidence: float = CONFIDENCE) -> PooledRatio | None:
    """Return the impact ratio pooled over strata (rounds), each compared only within itself.

    Sums are exact to the last bit, so the order of strata cannot change a digit. ``None`` if no stratum lets
    the groups be compared; the interval is ``None`` if nobody of the focal group was selected in any.

    Source: Mantel and Haenszel, JNCI 22:719, 1959; variance: Greenland and Robins, Biometrics 41:55, 1985.
    """
    tables = [t for t in strata if t.focal and t.reference]
    focal = math.fsum(t.focal_selected * t.reference / t.people for t in tables)
    reference = math.fsum(t.reference_selected * t.focal / t.people for t in tables)
    if not reference:
        return None
    if not focal:
        return PooledRatio(0.0, None, None)
    spread = math.fsum(
        (t.focal * t.reference * t.selected - t.focal_selected * t.reference_selected * t.people) / t.people**2
        for t in tables
    )
    standard_error = math.sqrt(spread / (focal * reference))
    ratio = focal / reference
    return PooledRatio(ratio, standard_error, _log_interval(ratio, standard_error, confidence))


def shortfall(strata: Iterable[Table]) -> float | None:
    """Return how many more people of the focal group equal chances within each stratum would have selected.

    Negative for a surplus; ``None`` if no stratum holds both groups.
    """
    tables = [t for t in strata if t.focal and t.reference]
    if not tables:
        return None
    return math.fsum((t.selected * t.focal - t.focal_selected * t.people) / t.people for t in tables)


def _divide(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _log_variance(table: Table, added: float) -> float:
    return (
        1 / (table.focal_selected + added)
        - 1 / (table.focal + added)
        + 1 / (table.reference_selected + added)
        - 1 / (table.reference + added)
    )


def _log_interval(ratio: float, log_standard_error: float, confidence: float) -> Interval:
    factor = math.exp(_quantile(confidence) * log_standard_error)
    return Interval(ratio / factor, ratio * factor)


def _wilson(selected: int, people: int, z: float) -> tuple[float, float]:
    """Score limits of one rate. Source: Wilson, JASA 22:209, 1927."""
    centre = selected + z * z / 2
    width = z * math.sqrt(selected * (people - selected) / people + z * z / 4)
    return max(0.0, (centre - width) / (people + z * z)), min(1.0, (centre + width) / (people + z * z))


def _score(table: Table, ratio: float) -> float:
    """Standardised distance of the table from a true ratio; falls as the ratio grows.

    The focal rate under the constraint ``focal = ratio * reference`` is the smaller root of a quadratic
    (Koopman 1984, equation 3), written without a difference of near-equal numbers.
    """
    n, m = table.focal, table.reference
    b = ratio * (n + table.reference_selected) + table.focal_selected + m
    c = ratio * table.selected
    focal = min(1.0, 2 * c / (b + math.sqrt(max(0.0, b * b - 4 * (n + m) * c))))
    reference = min(1.0, focal / ratio)
    variance = focal * (1 - focal) / n + ratio * ratio * reference * (1 - reference) / m
    distance = table.focal_selected / n - ratio * table.reference_selected / m
    if variance <= 0.0:  # both rates are 0 or 1: every other ratio is infinitely far
        return 0.0 if distance == 0.0 else math.copysign(1e300, distance)
    return distance / math.sqrt(variance)


def _root(falling: Callable[[float], float]) -> float:
    """Return exp of the zero of a falling function."""
    low, high = -1.0, 1.0
    while falling(low) < 0:
        low *= 2
    while falling(high) > 0:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def _hypergeometric_weights(table: Table) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the first possible count of selected focal people, and a weight for it and each later one.

    The likeliest count weighs 1. Each weight follows from its neighbour by a ratio of integers, starting
    there: large tables lose no precision.
    """
    first = max(0, table.selected - table.reference)
    last = min(table.selected, table.focal)
    likeliest = (table.focal + 1) * (table.selected + 1) // (table.people + 2)
    k = np.arange(first, last, dtype=np.float64)
    steps = np.log((table.focal - k) * (table.selected - k))
    steps -= np.log((k + 1) * (table.reference - table.selected + k + 1))
    at = min(max(likeliest, first), last) - first
    up = np.cumsum(steps[at:])
    down = -np.cumsum(steps[:at][::-1])[::-1]
    return first, np.exp(np.concatenate((down, np.zeros(1), up)))
