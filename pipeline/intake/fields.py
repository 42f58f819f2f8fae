"""What each field of a canonical record accepts, derived from the Avro schemas.

A converter returns the value to store or raises ``Unacceptable`` with what was expected; the reader adds line
and field. Raising costs nothing on the good path, which runs ten times a line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Final

from pipeline.avro.resolver import LocalResolver
from pipeline.domain import records
from pipeline.intake.times import EPOCH, parse_ms

Convert = Callable[[Any], Any]

MISSING: Final[Any] = object()
"""Marks a field that the line did not give and that has no default."""

MAX_TEXT = 4_000
"""Longest text of a field in characters: titles and links are far shorter, and state values stay small."""

_INT_RANGES = {"int": 2**31 - 1, "long": 2**63 - 1}


class Unacceptable(Exception):  # noqa: N818 - a message to the reader one frame up, not an error of the program
    """A value that the field does not accept."""

    def __init__(self, expected: str, found: Any, field: str = "", *, is_personal: bool = False) -> None:
        super().__init__()
        self.expected = expected
        self.found = found
        self.field = field
        self.is_personal = is_personal

    def within(self, field: str) -> "Unacceptable":
        """Return it with the field that contains the one it was raised for."""
        path = f"{field}.{self.field}" if self.field else field
        return Unacceptable(self.expected, self.found, path, is_personal=self.is_personal)


@dataclass(frozen=True, slots=True)
class RecordFields:
    """How to fill one record: converter and position of each field, defaults, and what must be given."""

    make: Callable[..., Any]
    positions: Mapping[str, tuple[int, Convert]]
    defaults: tuple[Any, ...]
    required: tuple[tuple[int, str], ...]


@cache
def fields_of(name: str) -> RecordFields:
    """Return how to fill the record of this class name from a JSON object.

    Args:
        name: for example ``ApplicationEvent``.
    """
    return _record_fields(LocalResolver.load().current(name).definition)


def fill(fields: RecordFields, source: Mapping[str, Any], on_unknown: Callable[[str, Any], None]) -> list[Any]:
    """Return the values of a record by position; what is neither given nor has a default is ``MISSING``.

    Args:
        fields: how to fill it.
        source: the JSON object. A null means the same as an absent field.
        on_unknown: called with name and value of each field that the record does not have.

    Raises:
        Unacceptable: a value is not accepted.
    """
    values = list(fields.defaults)
    positions = fields.positions
    for name, value in source.items():
        known = positions.get(name)
        if known is None:
            on_unknown(name, value)
        elif value is not None:
            try:
                values[known[0]] = known[1](value)
            except Unacceptable as problem:
                raise problem.within(name) from None
    return values


def complete(fields: RecordFields, values: list[Any]) -> Any:
    """Return the record of filled values.

    Raises:
        Unacceptable: a required field is missing.
    """
    for position, name in fields.required:
        if values[position] is MISSING:
            raise Unacceptable("a value: this field is required", MISSING, name)
    return fields.make(*values)


def _record_fields(schema: Mapping[str, Any]) -> RecordFields:
    listed = schema["fields"]
    defaults = tuple(field.get("default", MISSING) for field in listed)
    return RecordFields(
        make=getattr(records, schema["name"]),
        positions={field["name"]: (i, _converter(field["type"])) for i, field in enumerate(listed)},
        defaults=defaults,
        required=tuple((i, listed[i]["name"]) for i, value in enumerate(defaults) if value is MISSING),
    )


def _converter(kind: Any) -> Convert:  # noqa: PLR0911 - one return a kind of type
    if isinstance(kind, list):  # every union of ours is null or one type, and nulls are handled before
        return _converter(next(one for one in kind if one != "null"))
    if isinstance(kind, Mapping):
        if kind.get("logicalType") == "timestamp-millis":
            return _time
        if kind.get("logicalType") == "date":
            return _date
        if kind["type"] == "enum":
            return _enum(kind["symbols"])
        if kind["type"] == "record":
            return _nested(_record_fields(kind))
        if kind["type"] == "array":
            return _array(_converter(kind["items"]))
        return _converter(kind["type"])
    return {"string": _text, "boolean": _boolean, "int": _whole("int"), "long": _whole("long")}[kind]


def _time(value: Any) -> int:
    parsed = parse_ms(value)
    if isinstance(parsed, str):
        raise Unacceptable(parsed, value)
    return parsed


def _date(value: Any) -> int:
    if isinstance(value, str):
        try:
            return (datetime.combine(date.fromisoformat(value[:10]), datetime.min.time(), UTC) - EPOCH).days
        except ValueError:
            pass
    raise Unacceptable("a date (2026-03-31)", value)


def _text(value: Any) -> str:
    if type(value) is not str or not value:
        raise Unacceptable("text that is not empty", value)
    if len(value) > MAX_TEXT:
        raise Unacceptable(f"at most {MAX_TEXT} characters", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unacceptable("text in valid Unicode (half of a surrogate pair was found)", MISSING) from None
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Unacceptable("true or false", value)
    return value


def _whole(kind: str) -> Convert:
    limit = _INT_RANGES[kind]

    def convert(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= limit:
            raise Unacceptable(f"a whole number from 0 to {limit}", value)
        return value

    return convert


def _enum(symbols: list[str]) -> Convert:
    accepted = dict.fromkeys(symbols, True)

    def convert(value: Any) -> str:
        if type(value) is not str or value not in accepted:
            raise Unacceptable(f"one of {', '.join(symbols)}", value)
        return value

    return convert


def _nested(fields: RecordFields) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Unacceptable("an object with " + ", ".join(fields.positions), value)
        return complete(fields, fill(fields, value, _refuse_unknown))

    return convert


def _refuse_unknown(name: str, value: Any) -> None:
    """Refuse a field inside a nested object: those are ours entirely, so it is a mistake in writing."""
    raise Unacceptable("no such field here", value, name)


def _array(convert_item: Convert) -> Convert:
    def convert(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise Unacceptable("a list", value)
        items = []
        for index, item in enumerate(value):
            try:
                items.append(convert_item(item))
            except Unacceptable as problem:
                raise problem.within(str(index)) from None
        return tuple(items)

    return convert
