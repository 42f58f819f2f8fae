"""Every record, drawn from its own schema: our bytes are fastavro's bytes, and damage never becomes an exception."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.avro.definition import Array, AvroType, Choice, Map, Nullable, Primitive, Record
from pipeline.avro.record_classes import RECORD_CLASSES, WRITTEN
from pipeline.avro.resolver import RecordSchema
from pipeline.codec import HEADER_BYTES, Codec, Decoded, LocalResolver, Rejected

RESOLVER = LocalResolver.load()
CODEC = Codec(RESOLVER)
NAMES = [record.__name__ for record in WRITTEN]

PRIMITIVES: dict[Primitive, st.SearchStrategy[Any]] = {
    Primitive.STRING: st.text(max_size=12) | st.just("x" * 70) | st.just("ÿ" * 5000),
    Primitive.BYTES: st.binary(max_size=70),
    Primitive.INT: st.integers(-(2**31), 2**31 - 1),
    Primitive.LONG: st.integers(-(2**63), 2**63 - 1),
    Primitive.DOUBLE: st.floats(allow_nan=False),
    Primitive.BOOLEAN: st.booleans(),
}


def values(schema: AvroType) -> st.SearchStrategy[Any]:
    match schema:
        case Primitive():
            return PRIMITIVES[schema]
        case Choice(symbols=symbols):
            return st.sampled_from(symbols)
        case Nullable(inner):
            return st.none() | values(inner)
        case Array(items):
            return st.lists(values(items), max_size=3)
        case Map(inner):
            return st.dictionaries(st.text(max_size=5), values(inner), max_size=3)
        case Record(name, fields):
            made = RECORD_CLASSES[name]
            return st.tuples(*(values(field.type) for field in fields)).map(lambda drawn: made(*drawn))


STRATEGIES = {name: values(RESOLVER.current(name).record) for name in NAMES}


def fastavro_schema(schema: RecordSchema) -> Any:
    return fastavro.parse_schema(without_logical_types(schema.definition))


def without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    return schema


def plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


every_record = pytest.mark.parametrize("name", NAMES)
some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@every_record
@some
@given(data=st.data())
def test_every_record_comes_back_as_it_was_written(name: str, data: st.DataObject) -> None:
    record = data.draw(STRATEGIES[name])

    decoded = CODEC.decode(CODEC.encode(record))

    assert decoded == Decoded(record)
    assert isinstance(decoded, Decoded)
    assert type(decoded.record) is RECORD_CLASSES[name]


@every_record
@some
@given(data=st.data())
def test_the_body_is_byte_for_byte_what_fastavro_writes(name: str, data: st.DataObject) -> None:
    record = data.draw(STRATEGIES[name])
    theirs = io.BytesIO()

    fastavro.schemaless_writer(theirs, fastavro_schema(RESOLVER.current(name)), plain(record))

    assert CODEC.encode(record)[HEADER_BYTES:] == theirs.getvalue()


@every_record
@some
@given(data=st.data())
def test_damaged_bytes_are_refused_or_are_a_record_that_the_schema_allows(name: str, data: st.DataObject) -> None:
    written = CODEC.encode(data.draw(STRATEGIES[name]))
    at = data.draw(st.integers(HEADER_BYTES, len(written)))
    removed = data.draw(st.integers(0, 3))
    damaged = written[:at] + data.draw(st.binary(max_size=3)) + written[at + removed :]

    decoded = CODEC.decode(damaged)

    if isinstance(decoded, Decoded):
        assert CODEC.decode(CODEC.encode(decoded.record)) == decoded
    else:
        assert decoded.reason in {"undecodable", "trailing_bytes"}


@every_record
@some
@given(data=st.data())
def test_what_we_accept_fastavro_reads_the_same_way(name: str, data: st.DataObject) -> None:
    schema = RESOLVER.current(name)
    framed = CODEC.encode(data.draw(STRATEGIES[name]))[:HEADER_BYTES] + data.draw(st.binary(max_size=60))

    decoded = CODEC.decode(framed)

    if isinstance(decoded, Decoded):
        theirs = fastavro.schemaless_reader(io.BytesIO(framed[HEADER_BYTES:]), fastavro_schema(schema), None)
        assert plain(decoded.record) == theirs


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda body: b"\0\0\0\0" + body))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    assert isinstance(CODEC.decode(data), Decoded | Rejected)
