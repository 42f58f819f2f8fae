"""What a new schema version may change: each rule, and the reading that follows from it."""

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import fastavro
import pytest

from pipeline.avro.compatibility import incompatibilities
from pipeline.avro.definition import Array, AvroType, Choice, Field, Map, Nullable, Primitive, Record
from pipeline.avro.resolver import RecordSchema
from pipeline.codec import Codec, Decoded, LocalResolver, Rejected
from pipeline.domain.rejects import RejectReason
from tests.vectors.write_wire_examples import example


def record(*fields: Field, name: str = "Outer") -> Record:
    return Record(name, fields, "")


def field(name: str, type_: AvroType, **default: Any) -> Field:
    return Field(name, type_, "default" in default, default.get("default"), "")


class Change(NamedTuple):
    old: Record
    new: Record


LETTERS = Choice("Letter", ("a", "b"), None, "")
KEPT = field("kept", Primitive.STRING)

ALLOWED = {
    "nothing": Change(record(KEPT), record(KEPT)),
    "nullable field added": Change(record(KEPT), record(KEPT, field("new", Nullable(Primitive.STRING), default=None))),
    "field added in front": Change(record(KEPT), record(field("new", Primitive.INT, default=7), KEPT)),
    "list added": Change(record(KEPT), record(KEPT, field("new", Array(Primitive.INT), default=[]))),
    "field dropped": Change(record(field("old", Array(Primitive.STRING)), KEPT), record(KEPT)),
    "record dropped": Change(record(field("old", Array(record(field("x", LETTERS), name="Gone"))), KEPT), record(KEPT)),
    "fields swapped": Change(record(field("x", Primitive.INT), KEPT), record(KEPT, field("x", Primitive.INT))),
    "made nullable": Change(
        record(field("x", Primitive.INT)), record(field("x", Nullable(Primitive.INT), default=None))
    ),
    "int widened": Change(record(field("x", Array(Primitive.INT))), record(field("x", Array(Primitive.LONG)))),
    "symbol added": Change(
        record(field("x", LETTERS)), record(field("x", Choice("Letter", ("c", "b", "a"), None, "")))
    ),
    "symbol removed with default": Change(
        record(field("x", LETTERS)), record(field("x", Choice("Letter", ("other", "a"), "other", "")))
    ),
    "inner field added": Change(
        record(field("x", Map(record(KEPT, name="Inner")))),
        record(field("x", Map(record(field("y", Primitive.BOOLEAN, default=False), KEPT, name="Inner")))),
    ),
}

FORBIDDEN = {
    "Outer.new: new, but has no default": Change(record(KEPT), record(KEPT, field("new", Primitive.INT))),
    "Outer.new: new, but its default is not empty": Change(
        record(KEPT), record(KEPT, field("new", Array(Primitive.INT), default=[1]))
    ),
    "Outer.x: was nullable": Change(record(field("x", Nullable(Primitive.INT))), record(field("x", Primitive.INT))),
    "Outer.x: was long, is int": Change(record(field("x", Primitive.LONG)), record(field("x", Primitive.INT))),
    "Outer.x: was string, is bytes": Change(record(field("x", Primitive.STRING)), record(field("x", Primitive.BYTES))),
    "Outer.x: was string, is array": Change(
        record(field("x", Primitive.STRING)), record(field("x", Array(Primitive.STRING)))
    ),
    "Outer.x[]: was int, is string": Change(
        record(field("x", Array(Primitive.INT))), record(field("x", Array(Primitive.STRING)))
    ),
    "Outer.x{}: was int, is string": Change(
        record(field("x", Map(Primitive.INT))), record(field("x", Map(Primitive.STRING)))
    ),
    "Outer.x: symbols ['b'] were removed": Change(
        record(field("x", LETTERS)), record(field("x", Choice("Letter", ("a",), None, "")))
    ),
    "Outer.x: was enum Letter, is enum Digit": Change(
        record(field("x", LETTERS)), record(field("x", Choice("Digit", ("a", "b"), None, "")))
    ),
    "Outer.x: was record A, is record B": Change(
        record(field("x", record(KEPT, name="A"))), record(field("x", record(KEPT, name="B")))
    ),
    "Outer.x.y: new, but has no default": Change(
        record(field("x", record(KEPT, name="Inner"))),
        record(field("x", record(KEPT, field("y", Primitive.INT), name="Inner"))),
    ),
}


def as_json(schema: AvroType) -> Any:
    match schema:
        case Primitive():
            return str(schema)
        case Nullable(inner):
            return ["null", as_json(inner)]
        case Array(items):
            return {"type": "array", "items": as_json(items)}
        case Map(values):
            return {"type": "map", "values": as_json(values)}
        case Choice(name, symbols, default):
            read = {"type": "enum", "name": name, "symbols": list(symbols)}
            return read | ({"default": default} if default else {})
        case Record(name, fields):
            return {"type": "record", "name": name, "fields": [_field_as_json(part) for part in fields]}


def _field_as_json(part: Field) -> dict[str, Any]:
    read = {"name": part.name, "type": as_json(part.type)}
    return read | ({"default": part.default} if part.has_default else {})


def schemas_of(change: Change) -> list[RecordSchema]:
    return [
        RecordSchema(number, schema.name, number, as_json(schema), schema)
        for number, schema in enumerate((change.old, change.new), start=1)
    ]


def records_in(schema: AvroType) -> Iterator[Record]:
    match schema:
        case Record(fields=fields):
            yield schema
            for inside in fields:
                yield from records_in(inside.type)
        case Array(inner) | Map(inner) | Nullable(inner):
            yield from records_in(inner)


def classes_of(schema: Record) -> dict[str, Any]:
    return {
        part.name: NamedTuple(part.name, [(inside.name, Any) for inside in part.fields])  # type: ignore[misc]
        for part in records_in(schema)
    }


def plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED)
def test_an_allowed_change_is_read_as_fastavro_reads_it(change: Change) -> None:
    old, new = schemas_of(change)
    value = plain(_filled(change.old))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(old.definition), value)
    expected = fastavro.schemaless_reader(
        io.BytesIO(body.getvalue()), fastavro.parse_schema(old.definition), fastavro.parse_schema(new.definition)
    )

    decoded = Codec(LocalResolver([old, new]), classes_of(change.new)).decode(b"\0\0\0\0\1" + body.getvalue())

    assert incompatibilities(writer=change.old, reader=change.new) == []
    assert isinstance(decoded, Decoded)
    assert plain(decoded.record) == expected


def _filled(schema: AvroType) -> Any:
    """Return a value of a schema that has no class."""
    match schema:
        case Record(fields=fields):
            return {part.name: _filled(part.type) for part in fields}
        case Array(items):
            return [_filled(items)] * 2
        case Map(values):
            return {"key": _filled(values)}
        case Nullable(inner):
            return _filled(inner)
        case _:
            return example(schema)


@pytest.mark.parametrize(("problem", "change"), FORBIDDEN.items(), ids=FORBIDDEN)
def test_a_forbidden_change_is_named_and_its_bytes_are_refused(problem: str, change: Change) -> None:
    old, new = schemas_of(change)

    found = incompatibilities(writer=change.old, reader=change.new)
    decoded = Codec(LocalResolver([old, new]), classes_of(change.new)).decode(b"\0\0\0\0\1body")

    assert len(found) == 1
    assert found[0].startswith(problem)
    assert isinstance(decoded, Rejected)
    assert decoded.reason is RejectReason.UNKNOWN_SCHEMA
    assert problem in decoded.detail


def test_a_default_list_is_a_new_one_for_each_record() -> None:
    change = ALLOWED["list added"]
    codec = Codec(LocalResolver(schemas_of(change)), classes_of(change.new))

    first, second = (codec.decode(b"\0\0\0\0\1\2x") for _ in range(2))

    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    assert first.record.new is not second.record.new


def test_an_enum_with_more_symbols_than_one_byte_numbers_is_read_and_written() -> None:
    many = record(field("x", Choice("Many", tuple(f"s{number}" for number in range(200)), None, "")))
    classes = classes_of(many)
    codec = Codec(LocalResolver([RecordSchema(1, "Outer", 1, as_json(many), many)]), classes)
    last = classes["Outer"]("s199")

    assert codec.decode(codec.encode(last)) == Decoded(last)
