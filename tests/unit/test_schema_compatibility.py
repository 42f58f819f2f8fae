"""The schema files: complete, documented, equal to the classes, and readable across all their versions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

from pipeline.avro.compatibility import incompatibilities
from pipeline.avro.definition import Array, AvroType, Choice, Map, Nullable, Record
from pipeline.avro.record_classes import RECORD_CLASSES, WRITTEN
from pipeline.avro.resolver import RecordSchema
from pipeline.codec import Codec, Decoded, LocalResolver
from tests.vectors.write_wire_examples import EXAMPLES, example

FOLDER = Path(__file__).parents[2] / "schemas"
IDS: dict[str, dict[str, Any]] = json.loads((FOLDER / "ids.json").read_text())
RESOLVER = LocalResolver.load()
SCHEMAS = RESOLVER.schemas()
WIRE_EXAMPLES: dict[str, str] = json.loads(EXAMPLES.read_text())

every_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: f"{schema.name}.v{schema.version}")


def parts(schema: AvroType) -> Iterator[Record | Choice]:
    match schema:
        case Record(fields=fields):
            yield schema
            for field in fields:
                yield from parts(field.type)
        case Choice():
            yield schema
        case Array(inner) | Map(inner) | Nullable(inner):
            yield from parts(inner)


def records_of(schema: RecordSchema) -> list[Record]:
    return [part for part in parts(schema.record) if isinstance(part, Record)]


def test_every_schema_file_has_exactly_one_id() -> None:
    assert sorted(entry["file"] for entry in IDS.values()) == sorted(
        f"avro/{path.name}" for path in FOLDER.glob("avro/*.avsc")
    )


@every_schema
def test_the_file_is_named_after_record_and_version(schema: RecordSchema) -> None:
    assert IDS[str(schema.schema_id)]["file"] == f"avro/{schema.name}.v{schema.version}.avsc"


@pytest.mark.parametrize("name", sorted({schema.name for schema in SCHEMAS}))
def test_versions_of_a_record_count_from_1_without_gaps(name: str) -> None:
    versions = [schema.version for schema in SCHEMAS if schema.name == name]

    assert sorted(versions) == list(range(1, len(versions) + 1))


def test_every_written_record_has_a_schema_and_every_schema_a_class() -> None:
    assert {record.__name__ for record in WRITTEN} == {schema.name for schema in SCHEMAS}


@every_schema
def test_fastavro_accepts_the_schema_and_finds_our_namespace(schema: RecordSchema) -> None:
    parsed = fastavro.parse_schema(schema.definition)

    assert isinstance(parsed, dict)
    assert parsed["name"] == f"parityflow.v1.{schema.name}"


@every_schema
def test_records_enums_and_fields_say_what_they_mean(schema: RecordSchema) -> None:
    silent = [part.name for part in parts(schema.record) if len(part.doc) < 10]
    silent += [
        f"{record.name}.{field.name}"
        for record in records_of(schema)
        for field in record.fields
        if len(field.doc) < 10 or not field.doc.endswith(".")
    ]

    assert silent == []


@every_schema
def test_a_field_that_may_be_missing_has_the_default_null_and_no_other_has_one(schema: RecordSchema) -> None:
    for record in records_of(schema):
        for field in record.fields:
            assert (field.has_default, field.default) == (isinstance(field.type, Nullable), None), field.name


@pytest.mark.parametrize("name", [record.__name__ for record in WRITTEN])
def test_a_class_has_the_fields_of_its_newest_schema_in_the_same_order(name: str) -> None:
    for record in records_of(RESOLVER.current(name)):
        assert getattr(RECORD_CLASSES[record.name], "_fields", ()) == tuple(field.name for field in record.fields)


def test_a_record_or_enum_inside_several_schemas_means_the_same_in_each() -> None:
    seen: dict[str, Record | Choice] = {}
    for record in WRITTEN:
        for part in parts(RESOLVER.current(record.__name__).record):
            first = seen.setdefault(part.name, part)
            assert getattr(part, "symbols", part) == getattr(first, "symbols", first)


@every_schema
def test_the_newest_version_reads_what_every_earlier_version_wrote(schema: RecordSchema) -> None:
    assert incompatibilities(writer=schema.record, reader=RESOLVER.current(schema.name).record) == []


@every_schema
def test_example_bytes_of_every_version_can_still_be_read(schema: RecordSchema) -> None:
    written = bytes.fromhex(WIRE_EXAMPLES[f"{schema.name}.v{schema.version}"])

    decoded = Codec(RESOLVER).decode(written)

    assert int.from_bytes(written[1:5], "big") == schema.schema_id
    assert isinstance(decoded, Decoded)
    if RESOLVER.current(schema.name) is schema:
        assert decoded.record == example(schema.record)
