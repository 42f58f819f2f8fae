"""Which schemas are read, and how the others are refused."""

from typing import Any

import pytest

from pipeline.avro.definition import Choice, Nullable, UnsupportedSchemaError, read_record


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "string"},
        {"type": "record", "name": "Empty", "fields": []},
        {"type": "record", "name": "Outer", "fields": [{"name": "x", "type": ["string", "null"]}]},
        {"type": "record", "name": "Outer", "fields": [{"name": "x", "type": ["null", "int", "string"]}]},
        {"type": "record", "name": "Outer", "fields": [{"name": "x", "type": "Unknown"}]},
        {"type": "record", "name": "Outer", "fields": [{"type": "string"}]},
        {"type": "record", "name": "Outer", "fields": [{"name": "x", "type": ["null", "Outer"]}]},
        {"type": "record", "name": "Outer", "fields": [{"name": "x", "type": {"type": "fixed", "size": 4}}]},
    ],
)
def test_a_schema_beyond_what_we_use_is_refused(definition: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedSchemaError, match="expected a record"):
        read_record(definition)


def test_a_type_named_once_can_be_used_again() -> None:
    definition = {
        "type": "record",
        "name": "Outer",
        "fields": [
            {"name": "x", "type": {"type": "enum", "name": "Letter", "symbols": ["a", "b"]}},
            {"name": "y", "type": ["null", "Letter"], "default": None},
        ],
    }

    read = read_record(definition)

    assert read.fields[1].type == Nullable(Choice("Letter", ("a", "b"), None, ""))
