"""Records to bytes and back: Confluent's framing around Avro.

A value is byte 0, the schema id as 4 bytes big-endian, and the Avro body. Bytes that cannot be read are a value
(``Rejected``), never an exception: bad input is expected and goes to the dead letters.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import fastavro

from pipeline.domain import records
from pipeline.domain.rejects import RejectReason
from pipeline.errors import TerminalError
from pipeline.schema_registry import LocalResolver, SchemaResolver

__all__ = ["Codec", "Decoded", "LocalResolver", "Rejected", "SchemaResolver", "UnencodableRecordError"]

HEADER = struct.Struct(">bI")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record that could be read."""

    record: Any


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes that could not be read, and why."""

    reason: str
    detail: str


class UnencodableRecordError(TerminalError):
    """A record holds a value that its schema does not allow."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{name} cannot be written: {problem}")


class Codec:
    """Encodes and decodes every record of the project."""

    def __init__(self, resolver: SchemaResolver) -> None:
        self._resolver = resolver
        self._parsed: dict[int, Any] = {}

    def encode(self, record: NamedTuple) -> bytes:
        """Return the framed bytes of a record, written with its current schema."""
        name = type(record).__name__
        schema = self._resolver.current(name)
        out = io.BytesIO()
        out.write(HEADER.pack(0, schema.schema_id))
        try:
            fastavro.schemaless_writer(out, self._parse(schema), _plain(record))
        except Exception as error:
            raise UnencodableRecordError(name, repr(error)) from error
        return out.getvalue()

    def decode(self, data: bytes | None) -> Decoded | Rejected:
        """Return the record in the bytes, or why there is none."""
        if not data:
            return Rejected(RejectReason.EMPTY_VALUE, "no value")
        if len(data) < HEADER.size or data[0] != 0:
            return Rejected(RejectReason.WRONG_MAGIC, "expected byte 0 and a schema id")
        schema_id = HEADER.unpack_from(data)[1]
        schema = self._resolver.by_id(schema_id)
        if schema is None:
            return Rejected(RejectReason.UNKNOWN_SCHEMA, f"schema id {schema_id}")
        body = io.BytesIO(data)
        body.seek(HEADER.size)
        try:
            values = fastavro.schemaless_reader(body, self._parse(schema), None)
        except Exception as error:
            return Rejected(RejectReason.UNDECODABLE, f"{schema.name}: {type(error).__name__}")
        if body.tell() != len(data):
            return Rejected(
                RejectReason.TRAILING_BYTES, f"{len(data) - body.tell()} bytes after {schema.name}"
            )
        return Decoded(_build(schema.definition, values))

    def _parse(self, schema: Any) -> Any:
        if schema.schema_id not in self._parsed:
            self._parsed[schema.schema_id] = fastavro.parse_schema(_without_logical_types(schema.definition))
        return self._parsed[schema.schema_id]


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    return schema


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {key: _plain(item) for key, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _build(schema: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(schema, list):
        return _build(schema[1], value)
    if isinstance(schema, dict):
        if schema["type"] == "record":
            made = [_build(field["type"], value[field["name"]]) for field in schema["fields"]]
            return getattr(records, schema["name"])(*made)
        if schema["type"] == "array":
            return [_build(schema["items"], item) for item in value]
    return value
