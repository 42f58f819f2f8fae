"""Compile a schema into a function that reads its records.

The function reads what the writer's schema wrote and returns the record class of the reader's schema: fields
that the reader does not know are read and dropped, fields that the writer did not know take their default.

A slice may run past the end of the data unnoticed: the next index notices it, or the caller, who compares the
position after the record with the length. That spares a check per field.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from pipeline.avro.compatibility import IncompatibleSchemasError, incompatibilities
from pipeline.avro.definition import Array, AvroType, Choice, Field, Map, Nullable, Primitive, Record
from pipeline.avro.source import FunctionSource
from pipeline.errors import TerminalError

Decode = Callable[[bytes, int], tuple[Any, int]]
"""From bytes and the position of the body to the record and the position after it."""

RecordClasses = Mapping[str, type[tuple[Any, ...]]]

NULLS_AT_ONCE = 6
"""Neighbours that are looked at together: most of an event's thirty optional fields are null, in runs."""

UNREADABLE = (IndexError, KeyError, ValueError, struct.error)
"""What a compiled function raises on bytes that its schema did not write."""


class RecordClassMismatchError(TerminalError):
    """A record class and its schema do not have the same fields in the same order."""

    def __init__(self, name: str, class_fields: tuple[str, ...], schema_fields: tuple[str, ...]) -> None:
        self.name = name
        super().__init__(
            f"class {name} has the fields {class_fields}, its schema {schema_fields}: make them equal, in the same "
            "order, with a new schema version if the schema was ever released"
        )


def compile_decoder(writer: Record, reader: Record, classes: RecordClasses) -> Decode:
    """Return the function that reads records of ``writer`` as the classes of ``reader``.

    Raises:
        IncompatibleSchemasError: ``reader`` cannot read what ``writer`` wrote.
        RecordClassMismatchError: a class does not fit the reader's schema.
    """
    problems = incompatibilities(writer=writer, reader=reader)
    if problems:
        raise IncompatibleSchemasError(writer.name, problems)
    source = FunctionSource(
        "data, at",
        new=tuple.__new__,
        integer=_long_integer,
        length=_long_length,
        booleans={0: False, 1: True},
        double=struct.Struct("<d").unpack_from,
    )
    _Compiler(source, classes).read_value(writer, reader, "record", 0)
    source.line(0, "return record, at")
    decode: Decode = source.compile(f"decoder of {writer.name}")
    return decode


class _Compiler:
    """Writes the lines that read one value into a variable; ``x`` and ``end`` are scratch variables.

    A reader of None means that the value is read only to get behind it.
    """

    def __init__(self, source: FunctionSource, classes: RecordClasses) -> None:
        self._source = source
        self._classes = classes

    def read_value(self, writer: AvroType, reader: AvroType | None, into: str, depth: int) -> None:
        if isinstance(reader, Nullable):
            reader = reader.inner
        match writer:
            case Primitive():
                self._read_primitive(writer, into, depth)
            case Choice():
                self._read_choice(writer, reader if isinstance(reader, Choice) else writer, into, depth)
            case Nullable():
                self._read_nullable(writer, reader, into, depth)
            case Array():
                self._read_array(writer, reader.items if isinstance(reader, Array) else None, into, depth)
            case Map():
                self._read_map(writer, reader.values if isinstance(reader, Map) else None, into, depth)
            case Record():
                self._read_record(writer, reader if isinstance(reader, Record) else None, into, depth)

    def _read_primitive(self, primitive: Primitive, into: str, depth: int) -> None:
        line = self._source.line
        match primitive:
            case Primitive.STRING | Primitive.BYTES:
                line(depth, "x = data[at]")
                line(depth, "if x & 129: x, at = length(data, at)")  # several bytes, or negative
                line(depth, "else: at += 1")
                line(depth, "end = at + (x >> 1)")
                line(depth, f"{into} = data[at:end]" + (".decode()" if primitive is Primitive.STRING else ""))
                line(depth, "at = end")
            case Primitive.INT | Primitive.LONG:
                self._read_integer("x", depth, bits=32 if primitive is Primitive.INT else 64)
                line(depth, f"{into} = (x >> 1) ^ -(x & 1)")
            case Primitive.BOOLEAN:
                line(depth, f"{into} = booleans[data[at]]")
                line(depth, "at += 1")
            case Primitive.DOUBLE:
                line(depth, f"{into}, = double(data, at)")
                line(depth, "at += 8")

    def _read_integer(self, into: str, depth: int, bits: int) -> None:
        """Read an integer as it is written: zigzag, the lowest bit is the sign."""
        self._source.line(depth, f"{into} = data[at]")
        self._source.line(depth, f"if {into} > 127: {into}, at = integer(data, at, {bits})")
        self._source.line(depth, "else: at += 1")

    def _read_choice(self, writer: Choice, reader: Choice, into: str, depth: int) -> None:
        symbols = {
            2 * number: symbol if symbol in reader.symbols else reader.default
            for number, symbol in enumerate(writer.symbols)
        }
        by_number = self._source.bind(symbols)
        self._read_integer("x", depth, bits=32)
        self._source.line(depth, f"{into} = {by_number}[x]")

    def _read_nullable(self, writer: Nullable, reader: AvroType | None, into: str, depth: int) -> None:
        line = self._source.line
        line(depth, "x = data[at]")
        line(depth, "at += 1")
        line(depth, f"if x == 0: {into} = None")
        line(depth, "elif x == 2:")
        self.read_value(writer.inner, reader, into, depth + 1)
        line(depth, "else: raise ValueError")

    def _read_array(self, writer: Array, reader: AvroType | None, into: str, depth: int) -> None:
        item = self._source.variable()
        self._source.line(depth, f"{into} = []")
        self._begin_blocks(depth)
        self.read_value(writer.items, reader, item, depth + 2)
        self._source.line(depth + 2, f"{into}.append({item})")
        self._read_integer("x", depth + 1, bits=64)

    def _read_map(self, writer: Map, reader: AvroType | None, into: str, depth: int) -> None:
        key, value = self._source.variable(), self._source.variable()
        self._source.line(depth, f"{into} = {{}}")
        self._begin_blocks(depth)
        self._read_primitive(Primitive.STRING, key, depth + 2)
        self.read_value(writer.values, reader, value, depth + 2)
        self._source.line(depth + 2, f"{into}[{key}] = {value}")
        self._read_integer("x", depth + 1, bits=64)

    def _begin_blocks(self, depth: int) -> None:
        """Open the loops over blocks and over their items; the items' body is two levels inside."""
        self._read_integer("x", depth, bits=64)
        self._source.line(depth, "while x:")
        self._source.line(depth + 1, "if x & 1:")  # a negative count: the block's length in bytes follows
        self._source.line(depth + 2, "x += 1")
        self._read_integer("end", depth + 2, bits=64)
        self._source.line(depth + 1, "for _ in range(x >> 1):")

    def _read_record(self, writer: Record, reader: Record | None, into: str, depth: int) -> None:
        readers = {field.name: field for field in reader.fields} if reader else {}
        variables = {field.name: self._source.variable() for field in writer.fields}
        for fields in _runs(writer.fields):
            inner = depth
            if len(fields) > 1:
                self._begin_nulls([variables[field.name] for field in fields], depth)
                inner = depth + 1
            for field in fields:
                wanted = readers.get(field.name)
                self.read_value(field.type, wanted.type if wanted else None, variables[field.name], inner)
        if reader is None:
            self._source.line(depth, f"{into} = None")
            return
        values = [variables.get(field.name) or self._default(field) for field in reader.fields]
        made = self._source.bind(record_class(reader, self._classes))
        self._source.line(depth, f"{into} = new({made}, ({', '.join(values)},))")

    def _begin_nulls(self, into: list[str], depth: int) -> None:
        """Read several nulls at once; what follows one level inside reads the fields when not all of them are."""
        count = len(into)
        self._source.line(depth, f"if data[at:at + {count}] == {self._source.bind(bytes(count))}:")
        self._source.line(depth + 1, f"{' = '.join(into)} = None")
        self._source.line(depth + 1, f"at += {count}")
        self._source.line(depth, "else:")

    def _default(self, field: Field) -> str:
        if isinstance(field.default, list | dict):
            return "[]" if isinstance(field.default, list) else "{}"  # a new one for each record
        return self._source.bind(field.default)


def _runs(fields: Sequence[Field]) -> Iterator[Sequence[Field]]:
    """Yield fields one by one, but up to ``NULLS_AT_ONCE`` neighbours together that may all be null."""
    for is_nullable, group in groupby(fields, lambda field: isinstance(field.type, Nullable)):
        run = list(group)
        size = NULLS_AT_ONCE if is_nullable and len(run) >= NULLS_AT_ONCE else 1
        for start in range(0, len(run), size):
            yield run[start : start + size]


def record_class(schema: Record, classes: RecordClasses) -> type[tuple[Any, ...]]:
    """Return the class of a record.

    Raises:
        RecordClassMismatchError: there is none, or it has other fields than the schema.
    """
    found = classes.get(schema.name)
    class_fields = getattr(found, "_fields", ())
    schema_fields = tuple(field.name for field in schema.fields)
    if found is None or class_fields != schema_fields:
        raise RecordClassMismatchError(schema.name, class_fields, schema_fields)
    return found


def _long_integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """Read an integer of two bytes or more, still in zigzag form, and return the position after it."""
    byte = data[at + 1]
    value = data[at] & 127 | (byte & 127) << 7
    if byte < 128:  # noqa: PLR2004  the highest bit says whether another byte follows
        return value, at + 2
    at += 2
    for shift in range(14, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004
            break
    else:
        raise ValueError(bits)
    if value >> bits:
        raise ValueError(bits)
    return value, at


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """Read a length of several bytes, refusing a negative one."""
    if data[at] & 1:
        raise ValueError(data[at])
    return _long_integer(data, at, 64)
