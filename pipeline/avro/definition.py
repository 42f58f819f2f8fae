"""An Avro schema as values: the part of the specification that our records use, read from its JSON.

Logical types are annotations for readers of the schema; here times stay integer milliseconds and days day numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.errors import TerminalError


class UnsupportedSchemaError(TerminalError):
    """A schema uses something of Avro that this project does not."""

    def __init__(self, where: str, found: object) -> None:
        self.where = where
        self.found = found
        super().__init__(
            f"schema of {where}: expected a record, array, map, enum, string, bytes, int, long, double, boolean or a "
            f'union ["null", T], found {found!r}; express the field in these'
        )


class Primitive(StrEnum):
    """Avro's types without parts."""

    STRING = "string"
    BYTES = "bytes"
    INT = "int"
    LONG = "long"
    DOUBLE = "double"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Choice:
    """An enum: one of a closed list of symbols, written as the symbol's number."""

    name: str
    symbols: tuple[str, ...]
    default: str | None
    doc: str


@dataclass(frozen=True, slots=True)
class Nullable:
    """A union of null, first, and one other type."""

    inner: "AvroType"


@dataclass(frozen=True, slots=True)
class Array:
    """A sequence of values of one type."""

    items: "AvroType"


@dataclass(frozen=True, slots=True)
class Map:
    """Values of one type by text."""

    values: "AvroType"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record; ``default`` counts only where ``has_default``."""

    name: str
    type: "AvroType"
    has_default: bool
    default: Any
    doc: str


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields in the order in which they are written."""

    name: str
    fields: tuple[Field, ...]
    doc: str


AvroType = Primitive | Choice | Nullable | Array | Map | Record


def read_record(schema: Mapping[str, Any]) -> Record:
    """Return the record that a schema's JSON defines.

    Args:
        schema: the parsed JSON of one ``.avsc`` file.

    Raises:
        UnsupportedSchemaError: it is no record, or uses what this project does not.

    Example:
        >>> read_record({"type": "record", "name": "Tick", "fields": [{"name": "minute", "type": "long"}]}).name
        'Tick'
    """
    read = _read_type(schema, "the file", {})
    if not isinstance(read, Record):
        raise UnsupportedSchemaError("the file", schema)
    return read


def _read_type(schema: Any, where: str, named: dict[str, AvroType]) -> AvroType:
    read: AvroType
    match schema:
        case str() if schema in named:
            read = named[schema]
        case str() if schema in set(Primitive):
            read = Primitive(schema)
        case {"type": str(kind)} if kind in set(Primitive):
            read = Primitive(kind)
        case ["null", inner]:
            read = Nullable(_read_type(inner, where, named))
        case {"type": "array", "items": items}:
            read = Array(_read_type(items, where, named))
        case {"type": "map", "values": values}:
            read = Map(_read_type(values, where, named))
        case {"type": "enum", "name": str(name), "symbols": [_, *_] as symbols}:
            read = named[name] = Choice(name, tuple(symbols), schema.get("default"), schema.get("doc", ""))
        case {"type": "record", "name": str(name), "fields": [_, *_] as fields}:
            inside = tuple(_read_field(field, name, named) for field in fields)
            read = named[name] = Record(name, inside, schema.get("doc", ""))
        case _:
            raise UnsupportedSchemaError(where, schema)
    return read


def _read_field(field: Any, record: str, named: dict[str, AvroType]) -> Field:
    match field:
        case {"name": str(name), "type": written}:
            return Field(
                name=name,
                type=_read_type(written, f"{record}.{name}", named),
                has_default="default" in field,
                default=field.get("default"),
                doc=field.get("doc", ""),
            )
        case _:
            raise UnsupportedSchemaError(record, field)
