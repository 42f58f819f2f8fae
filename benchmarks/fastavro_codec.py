"""The codec with fastavro behind it: what stays of our own Avro code is decided by the difference."""

import io
from collections.abc import Callable
from typing import Any

import fastavro

from pipeline.avro.definition import Array, AvroType, Nullable, Record
from pipeline.avro.record_classes import RECORD_CLASSES
from pipeline.codec import HEADER, HEADER_BYTES, Codec, Decoded, LocalResolver, Rejected
from pipeline.domain.rejects import RejectReason

Convert = Callable[[Any], Any]


class FastavroCodec(Codec):
    """Encodes and decodes with fastavro; everything else is the product's codec."""

    def __init__(self, resolver: LocalResolver) -> None:
        super().__init__(resolver)
        self._readers: dict[bytes, tuple[Any, Convert]] = {}
        self._writers: dict[str, tuple[bytes, Any, Convert]] = {}
        for schema in resolver.schemas():
            header = HEADER.pack(0, schema.schema_id)
            parsed = fastavro.parse_schema(_without_logical_types(schema.definition))
            self._readers[header] = parsed, _to_class(schema.record)
            self._writers[schema.name] = header, parsed, _to_dict(schema.record)

    def encode(self, record: tuple[Any, ...]) -> bytes:
        header, parsed, convert = self._writers[type(record).__name__]
        out = io.BytesIO()
        out.write(header)
        fastavro.schemaless_writer(out, parsed, convert(record))
        return out.getvalue()

    def decode(self, data: bytes | None) -> Decoded | Rejected:
        if not data or data[:HEADER_BYTES] not in self._readers:
            return Rejected(RejectReason.UNKNOWN_SCHEMA, "")
        parsed, convert = self._readers[data[:HEADER_BYTES]]
        body = io.BytesIO(data)
        body.seek(HEADER_BYTES)
        return Decoded(convert(fastavro.schemaless_reader(body, parsed, None)))


def _without_logical_types(schema: Any) -> Any:
    """Return a schema whose times are plain numbers, as the core wants them; fastavro would make datetimes."""
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [_without_logical_types(item) for item in schema] if isinstance(schema, list) else schema


def _to_class(record: Record) -> Convert:
    """Return the function from fastavro's dict to the record class."""
    new, made = tuple.__new__, RECORD_CLASSES[record.name]
    nested = [(field.name, convert) for field in record.fields if (convert := _nested(field.type, _to_class))]

    def convert_record(value: dict[str, Any]) -> Any:
        for name, convert in nested:
            value[name] = convert(value[name])
        return new(made, value.values())  # a dict keeps the order of the schema's fields

    return convert_record


def _to_dict(record: Record) -> Convert:
    """Return the function from the record class to the dict that fastavro writes."""
    names = [field.name for field in record.fields]
    nested = [(field.name, convert) for field in record.fields if (convert := _nested(field.type, _to_dict))]

    def convert_record(value: Any) -> dict[str, Any]:
        made = dict(zip(names, value, strict=True))
        for name, convert in nested:
            made[name] = convert(made[name])
        return made

    return convert_record


def _nested(kind: AvroType, of_record: Callable[[Record], Convert]) -> Convert | None:
    """Return how values of a type are converted; None when they stay as they are."""
    match kind:
        case Record():
            return of_record(kind)
        case Array(items):
            inner = _nested(items, of_record)
            return None if inner is None else (lambda values: [inner(value) for value in values])
        case Nullable(some):
            inner = _nested(some, of_record)
            return None if inner is None else (lambda value: None if value is None else inner(value))
    return None
