"""Compile a schema into a function that writes its records: the record class in, the body's parts out.

Records are read by position, so the class must have the schema's fields in the schema's order. A value that the
schema does not allow makes the function raise one of ``UNWRITABLE``; ``explain.py`` then finds the field.
"""

import struct
from collections.abc import Callable
from typing import Any

from pipeline.avro.decoder import RecordClasses, record_class
from pipeline.avro.definition import Array, AvroType, Choice, Map, Nullable, Primitive, Record
from pipeline.avro.source import FunctionSource

Encode = Callable[[Any], bytes]
"""From a record to the header and its body."""

UNWRITABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error)
"""What a compiled function raises on a record that its schema does not allow."""

SHORT = tuple(bytes([2 * number]) for number in range(64))
"""The integers 0 to 63 as written: one byte, which covers nearly every length and index."""

VOCABULARY_FIELDS = frozenset({"groups", "cells", "answer_groups"})
"""Arrays whose texts come from a small vocabulary: a text is encoded once and looked up afterwards."""
VOCABULARY_SIZE = 20_000
"""Texts remembered; groups and cells of all code sets are some thousands."""

_MORE = tuple(bytes((number & 127 | 128, number >> 7 | 128)) for number in range(1 << 14))
_LAST = (
    *(bytes((number,)) for number in range(128)),
    *(bytes((number & 127 | 128, number >> 7)) for number in range(128, 1 << 14)),
)
"""Fourteen bits as two bytes that are followed by more, or as the last one or two: a millisecond is three look-ups."""


class _Texts(dict[str, bytes]):
    """Texts as they are written, length first."""

    def __missing__(self, text: str) -> bytes:
        data = text.encode()
        written = _integer64(len(data)) + data
        if len(self) < VOCABULARY_SIZE:
            self[text] = written
        return written


_TEXTS = _Texts()


def compile_encoder(schema: Record, header: bytes, classes: RecordClasses) -> Encode:
    """Return the function that writes records of the schema behind the header.

    Raises:
        RecordClassMismatchError: a class does not fit the schema.
    """
    source = FunctionSource(
        "record",
        header=header,
        short=SHORT,
        integer32=_integer32,
        integer64=_integer64,
        items_of=_items,
        double=struct.Struct("<d").pack,
        join=b"".join,
        written=_TEXTS.__getitem__,
    )
    source.line(0, "parts = [header]")
    source.line(0, "put = parts.append")
    _Compiler(source, classes).write_value(schema, "record", 0)
    source.line(0, "return join(parts)")
    encode: Encode = source.compile(f"encoder of {schema.name}")
    return encode


class _Compiler:
    """Writes the lines that append one value; ``x`` and ``n`` are scratch variables."""

    def __init__(self, source: FunctionSource, classes: RecordClasses) -> None:
        self._source = source
        self._classes = classes

    def write_value(self, schema: AvroType, value: str, depth: int) -> None:
        line = self._source.line
        match schema:
            case Primitive():
                self._write_primitive(schema, value, depth)
            case Choice():
                line(depth, f"put({self._source.bind(_symbols(schema))}[{value}])")
            case Nullable(Choice() as choice):
                symbols = {symbol: b"\2" + code for symbol, code in _symbols(choice).items()}
                symbols[None] = b"\0"
                line(depth, f"put({self._source.bind(symbols)}[{value}])")
            case Nullable(Primitive.BOOLEAN):
                table = self._source.bind({None: b"\0", False: b"\2\0", True: b"\2\1"})
                line(depth, f"put({table}[{value}])")
            case Nullable(inner):
                line(depth, f"if {value} is None: put(b'\\0')")
                line(depth, "else:")
                line(depth + 1, "put(b'\\2')")
                self.write_value(inner, value, depth + 1)
            case Array(items):
                item = self._source.variable()
                line(depth, f"{value} = items_of({value})")
                self._begin_items(value, f"for {item} in {value}:", depth)
                self.write_value(items, item, depth + 2)
                line(depth, "put(b'\\0')")
            case Map(values):
                key, item = self._source.variable(), self._source.variable()
                self._begin_items(value, f"for {key}, {item} in {value}.items():", depth)
                self._write_primitive(Primitive.STRING, key, depth + 2)
                self.write_value(values, item, depth + 2)
                line(depth, "put(b'\\0')")
            case Record():
                self._write_record(schema, value, depth)

    def _write_record(self, schema: Record, value: str, depth: int) -> None:
        record_class(schema, self._classes)
        variables = [self._source.variable() for _ in schema.fields]
        self._source.line(depth, f"{', '.join(variables)}, = {value}")
        for field, variable in zip(schema.fields, variables, strict=True):
            if field.name in VOCABULARY_FIELDS and field.type == Array(Primitive.STRING):
                self._write_vocabulary(variable, depth)
            else:
                self.write_value(field.type, variable, depth)

    def _write_vocabulary(self, value: str, depth: int) -> None:
        """Write an array of texts, each of which was written before in all likelihood."""
        self._source.line(depth, f"n = len(items_of({value}))")
        self._source.line(depth, "if n:")
        self._source.line(depth + 1, "put(short[n] if n < 64 else integer64(n))")
        self._source.line(depth + 1, f"parts.extend(map(written, {value}))")
        self._source.line(depth, "put(b'\\0')")

    def _write_primitive(self, primitive: Primitive, value: str, depth: int) -> None:
        line = self._source.line
        match primitive:
            case Primitive.STRING | Primitive.BYTES:
                line(depth, f"x = {value}.encode()" if primitive is Primitive.STRING else f"x = {value}")
                line(depth, "n = len(x)")
                line(depth, "put(short[n] if n < 64 else integer64(n))")
                line(depth, "put(x)")
            case Primitive.INT | Primitive.LONG:
                integer = "integer32" if primitive is Primitive.INT else "integer64"
                line(depth, f"put(short[{value}] if 0 <= {value} < 64 else {integer}({value}))")
            case Primitive.BOOLEAN:
                table = self._source.bind({False: b"\0", True: b"\1"})
                line(depth, f"put({table}[{value}])")
            case Primitive.DOUBLE:
                line(depth, f"put(double({value}))")

    def _begin_items(self, value: str, loop: str, depth: int) -> None:
        """Write the count of one block and open the loop over its items; an empty collection has no block."""
        self._source.line(depth, f"n = len({value})")
        self._source.line(depth, "if n:")
        self._source.line(depth + 1, "put(short[n] if n < 64 else integer64(n))")
        self._source.line(depth + 1, loop)


def _symbols(choice: Choice) -> dict[str | None, bytes]:
    return {symbol: _integer32(number) for number, symbol in enumerate(choice.symbols)}


def _items(value: Any) -> Any:
    """Return the items of an array, refusing text: a forgotten list would be written letter by letter."""
    if isinstance(value, str | bytes):
        raise TypeError(value)
    return value


def _integer32(value: int) -> bytes:
    if not -(2**31) <= value < 2**31:
        raise OverflowError(value)
    return _integer64(value)


def _integer64(value: int) -> bytes:
    """Return an integer in zigzag form, seven bits a byte, lowest first."""
    rest = (value << 1) ^ (value >> 63)
    if rest < 1 << 28:
        return _LAST[rest] if rest < 1 << 14 else _MORE[rest & 16383] + _LAST[rest >> 14]
    if rest < 1 << 42:
        return _MORE[rest & 16383] + _MORE[rest >> 14 & 16383] + _LAST[rest >> 28]
    if not -(2**63) <= value < 2**63:
        raise OverflowError(value)
    head = _MORE[rest & 16383] + _MORE[rest >> 14 & 16383] + _MORE[rest >> 28 & 16383]
    rest >>= 42
    return head + (_LAST[rest] if rest < 1 << 14 else _MORE[rest & 16383] + _LAST[rest >> 14])
