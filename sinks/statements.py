"""Named SQL: every query and view is a ``.sql`` file whose head declares what may be asked of it.

Callers never send SQL. They name a statement and give typed parameters; anything else is refused, with what was
expected.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib import resources
from typing import Any, Final

from sinks.errors import HistoryQueryError

PAGE_ROWS: Final = 2_000
"""Rows that are in memory at a time while an answer is sent."""

_HEAD: Final = re.compile(r"^-- (?P<key>audiences|period|closed|parameter) ?:? ?(?P<rest>.*)$")
_PARAMETER: Final = re.compile(
    r"^(?P<name>\w+) (?P<kind>[\w|]+)(?: = (?P<default>[^:]*?))?(?P<required> required)?: (?P<meaning>.+)$"
)


class Kind(StrEnum):
    """Types that a parameter can have; a choice is written ``a|b|c`` instead."""

    TEXT = "text"
    TEXTS = "texts"
    INTEGER = "integer"
    POSITIVE = "positive"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a caller may say."""

    name: str
    kind: Kind
    meaning: str
    choices: tuple[str, ...] = ()
    default: Any = None
    required: bool = False

    def read(self, value: Any) -> Any:
        """Return the value as the statement needs it; texts may be given as a list or separated by commas.

        Raises:
            HistoryQueryError: it has another type.
        """
        if value is None:
            if self.required:
                raise HistoryQueryError(f"parameter {self.name} is missing: expected {self.expected()}")
            return self.default
        if self.kind is Kind.TEXTS:
            values = value.split(",") if isinstance(value, str) else value
            if isinstance(values, list | tuple) and all(isinstance(item, str) for item in values):
                return [item for item in values if item] or None
        elif self.kind in {Kind.INTEGER, Kind.POSITIVE}:
            number = _integer(value)
            if number is not None and (self.kind is Kind.INTEGER or number > 0):
                return number
        elif isinstance(value, str) and (self.kind is Kind.TEXT or value in self.choices):
            return value
        raise HistoryQueryError(f"parameter {self.name}: expected {self.expected()}, found {value!r}")

    def expected(self) -> str:
        """Say in words what may be given."""
        kinds = {
            Kind.TEXT: "text",
            Kind.TEXTS: "texts separated by commas",
            Kind.INTEGER: "a whole number",
            Kind.POSITIVE: "a whole number above 0",
            Kind.CHOICE: "one of " + ", ".join(self.choices),
        }
        return f"{kinds[self.kind]} ({self.meaning})"


@dataclass(frozen=True, slots=True)
class Statement:
    """One ``.sql`` file: what it answers, to whom, and what may be asked."""

    name: str
    sql: str
    parameters: tuple[Parameter, ...]
    audiences: frozenset[str] = frozenset()
    period: str = "none"
    closed: Mapping[str, str] = field(default_factory=dict)

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the SQL.

        Raises:
            HistoryQueryError: something unknown was given, something needed is missing or of another type.
        """
        names = [parameter.name for parameter in self.parameters]
        unknown = sorted(set(given) - set(names))
        if unknown:
            accepted = ", ".join(names) or "none"
            raise HistoryQueryError(f"unknown parameter {', '.join(unknown)} of {self.name}; accepted: {accepted}")
        return {parameter.name: parameter.read(given.get(parameter.name)) for parameter in self.parameters}


def load_statements(folder: str) -> dict[str, Statement]:
    """Read every statement of ``sinks/queries`` or ``sinks/views``."""
    files = (resources.files("sinks") / folder).iterdir()
    found = [
        parse_statement(file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]
    return {statement.name: statement for statement in sorted(found, key=lambda statement: statement.name)}


def parse_statement(name: str, text: str) -> Statement:
    r"""Read the head of a ``.sql`` file.

    Examples:
        >>> statement = parse_statement("x", "-- parameter limit positive = 10: how many rows\nSELECT $limit")
        >>> statement.bind({}), statement.bind({"limit": "3"})
        ({'limit': 10}, {'limit': 3})
    """
    heads = [match for line in text.splitlines() if (match := _HEAD.match(line))]
    values = {key: [head["rest"] for head in heads if head["key"] == key] for key in ("audiences", "period", "closed")}
    return Statement(
        name,
        text,
        tuple(_parameter(name, head["rest"]) for head in heads if head["key"] == "parameter"),
        frozenset(audience.strip() for line in values["audiences"] for audience in line.split(",")),
        values["period"][0] if values["period"] else "none",
        {name: reason for name, _, reason in (line.partition(": ") for line in values["closed"])},
    )


def answer(cursor: Any, statement: Statement, given: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Run a statement and yield its rows by pages, each row a dict by column name."""
    result = cursor.execute(statement.sql, statement.bind(given))
    names = [column[0] for column in result.description]
    while rows := result.fetchmany(PAGE_ROWS):
        yield [dict(zip(names, row, strict=True)) for row in rows]


def _parameter(statement: str, text: str) -> Parameter:
    match = _PARAMETER.match(text)
    if match is None:
        raise HistoryQueryError(f"{statement}.sql: cannot read the line of parameter {text!r}")
    choices = tuple(match["kind"].split("|")) if "|" in match["kind"] else ()
    kind = Kind.CHOICE if choices else Kind(match["kind"])
    parameter = Parameter(match["name"], kind, match["meaning"], choices, required=bool(match["required"]))
    if match["default"] is None:
        return parameter
    return replace(parameter, default=parameter.read(match["default"].strip()))


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
