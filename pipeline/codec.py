"""Records to bytes and back: Confluent's framing around an Avro body.

A value is byte 0, the schema id as 4 bytes big-endian, and the body. Bytes that cannot be read are a value
(``Rejected``), never an exception: bad input is expected and goes to the dead letters. A record that cannot be
written is a fault of the caller and raises.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.avro.compatibility import IncompatibleSchemasError
from pipeline.avro.decoder import UNREADABLE, Decode, RecordClasses, compile_decoder
from pipeline.avro.definition import Record
from pipeline.avro.encoder import UNWRITABLE, Encode, compile_encoder
from pipeline.avro.explain import explain
from pipeline.avro.record_classes import RECORD_CLASSES
from pipeline.avro.resolver import LocalResolver, SchemaResolver, UnknownRecordNameError
from pipeline.domain.rejects import RejectReason
from pipeline.errors import TerminalError

__all__ = [
    "Codec",
    "Decoded",
    "LocalResolver",
    "Rejected",
    "SchemaResolver",
    "UnencodableRecordError",
    "UnreadableHeadError",
]

HEADER = struct.Struct(">BI")
HEADER_BYTES = HEADER.size


class Decoded(NamedTuple):
    """A record that could be read, as its NamedTuple class; arrays are lists, nested records their classes."""

    record: Any


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes that could not be read: why, and what was expected and found, free of personal values."""

    reason: RejectReason
    detail: str


class UnencodableRecordError(TerminalError):
    """A record holds a value that its schema does not allow."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"{name} cannot be written. {problem}; correct what makes the record")


class UnreadableHeadError(TerminalError):
    """Bytes from which the first fields of a record were wanted hold no such record."""

    def __init__(self, name: str, found: Decoded | Rejected) -> None:
        self.name = name
        self.found = found
        what = f"{found.reason}: {found.detail}" if isinstance(found, Rejected) else type(found.record).__name__
        super().__init__(f"expected {name}, found {what}; it is damaged, or a newer version wrote it")


class Codec:
    """Encodes and decodes every record, with one compiled function per schema id.

    Args:
        resolver: says which schema an id stands for and which one a record is written with.
        classes: class of each record by the name of its schema.
    """

    def __init__(self, resolver: SchemaResolver, classes: RecordClasses = RECORD_CLASSES) -> None:
        self._resolver = resolver
        self._classes = classes
        self._decoders: dict[bytes, Decode] = {}
        self._encoders: dict[type, Encode] = {}

    def encode(self, record: tuple[Any, ...]) -> bytes:
        """Return the framed bytes of a record, written with its current schema.

        Raises:
            UnencodableRecordError: a value does not fit the schema.
            UnknownRecordNameError: the record has no schema.
            TransientError: the resolver cannot reach its registry.
        """
        encode = self._encoders.get(type(record)) or self._compile_encoder(type(record))
        try:
            return encode(record)
        except UNWRITABLE as error:
            raise self._unencodable(record, error) from error

    def decode(self, data: bytes | None) -> Decoded | Rejected:
        """Return the record that the bytes hold, or why they hold none.

        Raises:
            TransientError: the resolver cannot reach its registry; nothing is known about the bytes.
        """
        if not data:
            return Rejected(RejectReason.EMPTY_VALUE, "expected a framed record, found no value")
        decode = self._decoders.get(data[:HEADER_BYTES]) or self._compile_decoder(data)
        if isinstance(decode, Rejected):
            return decode
        try:
            record, end = decode(data, HEADER_BYTES)
        except UNREADABLE as error:
            return _undecodable(data, f"{type(error).__name__} while reading")
        if end == len(data):
            return Decoded(record)
        if end > len(data):
            return _undecodable(data, f"the last value ends {end - len(data)} bytes after the end")
        return Rejected(
            RejectReason.TRAILING_BYTES,
            f"expected the end after {end} bytes of schema id {_schema_id(data)}, found {len(data)} bytes",
        )

    def head_decoder(self, record_class: type[tuple[Any, ...]], head_class: Any) -> Callable[[bytes], Any]:
        """Return a function that reads the first fields of a record, several times faster than all of it.

        Bytes of an earlier version are read whole. The function does not notice damage behind the first fields, and
        raises ``UnreadableHeadError`` where ``decode`` would reject.

        Args:
            record_class: the record.
            head_class: a NamedTuple of its first fields, in order.
        """
        current = self._resolver.current(record_class.__name__)
        fields = current.record.fields[: len(head_class._fields)]
        head = Record(head_class.__name__, fields, current.record.doc)
        decode = compile_decoder(head, head, {head.name: head_class})
        header = HEADER.pack(0, current.schema_id)

        def read_head(data: bytes) -> Any:
            try:
                if data.startswith(header):
                    return decode(data, HEADER_BYTES)[0]
            except UNREADABLE:  # reading it whole says why
                pass
            decoded = self.decode(data)
            if isinstance(decoded, Rejected) or type(decoded.record) is not record_class:
                raise UnreadableHeadError(record_class.__name__, decoded)
            return head_class(*decoded.record[: len(fields)])

        return read_head

    def _compile_decoder(self, data: bytes) -> Decode | Rejected:
        if len(data) < HEADER_BYTES or data[0] != 0:
            return Rejected(
                RejectReason.WRONG_MAGIC,
                f"expected byte 0 and a 4-byte schema id, found {len(data)} bytes beginning with {data[0]}",
            )
        schema_id = _schema_id(data)
        writer = self._resolver.by_id(schema_id)
        if writer is None:
            return Rejected(RejectReason.UNKNOWN_SCHEMA, f"no schema has the id {schema_id}")
        try:
            reader = self._resolver.current(writer.name)
            decode = compile_decoder(writer.record, reader.record, self._classes)
        except (UnknownRecordNameError, IncompatibleSchemasError) as error:
            return Rejected(RejectReason.UNKNOWN_SCHEMA, f"schema id {schema_id}: {error}")
        self._decoders[data[:HEADER_BYTES]] = decode
        return decode

    def _compile_encoder(self, record_class: type) -> Encode:
        schema = self._resolver.current(record_class.__name__)
        header = HEADER.pack(0, schema.schema_id)
        encode = self._encoders[record_class] = compile_encoder(schema.record, header, self._classes)
        return encode

    def _unencodable(self, record: tuple[Any, ...], error: Exception) -> UnencodableRecordError:
        name = type(record).__name__
        problem = explain(self._resolver.current(name).record, record, name)
        return UnencodableRecordError(name, problem or f"found {type(error).__name__}")


def _schema_id(data: bytes) -> int:
    found: int = HEADER.unpack_from(data)[1]
    return found


def _undecodable(data: bytes, problem: str) -> Rejected:
    return Rejected(
        RejectReason.UNDECODABLE,
        f"schema id {_schema_id(data)} did not write these {len(data)} bytes: {problem}",
    )
