"""The ratios report for a person: a table for the terminal, with the words that explain its columns."""

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from pipeline.domain.ratios import Interval
from pipeline.report.ratios import NOTICE, RatiosReport
from pipeline.report.rows import RatioRow

_COLUMNS = (
    "group",
    "selected",
    "not selected",
    "withdrew",
    "rate",
    "impact ratio",
    "inverse",
    "95 % (Koopman)",
    "over rounds",
    "Fisher p",
    "shortfall",
)


def print_ratios(report: RatiosReport, label: Callable[[str], str], out: Console, notes: Console) -> None:
    """Print the report for a person.

    Args:
        report: What to print.
        label: Gives the printed name of a group.
        out: Where the table goes: standard output.
        notes: Where the notice about exact figures goes: standard error.
    """
    notes.print(NOTICE, style="yellow")
    out.print(ratios_table(report, label))
    out.print(
        f"impact ratio = rate of the group / rate of {label(report.reference)}; inverse = the other way round "
        "(the NHS direction). over rounds = Mantel-Haenszel, each vacancy compared only within itself. "
        "shortfall = people whom equal chances within each vacancy would have selected in addition. - = undefined.",
        style="dim",
        highlight=False,
    )


def ratios_table(report: RatiosReport, label: Callable[[str], str]) -> Table:
    """Return the table of a report, a row a group."""
    period = f"{report.from_date or 'the beginning'} to {report.to_date or 'now'}"
    title = (
        f"{report.organisation}: {report.step} by {report.characteristic}, {report.form} form, {period}, "
        f"compared with {label(report.reference)}"
    )
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(_COLUMNS):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=position > 0)
    for row in report.rows:
        table.add_row(label(row.group), *_cells(row))
    return table


def _cells(row: RatioRow) -> tuple[str, ...]:
    return (
        str(row.selected),
        str(row.not_selected),
        _text(row.withdrew, "d"),
        _text(row.rate, ".1%"),
        _text(row.impact_ratio, ".4f"),
        _text(row.inverse_ratio, ".4f"),
        _interval(row.koopman),
        _text(row.mantel_haenszel_ratio, ".4f"),
        _text(row.fisher_p, ".2g"),
        _text(row.shortfall, ".1f"),
    )


def _text(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    high = "no limit" if interval.high is None else f"{interval.high:.3f}"
    return f"{interval.low:.3f} to {high}"
