"""Find the field that keeps a record from being written: slow, and only called once writing has failed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.avro.definition import Array, AvroType, Choice, Map, Nullable, Primitive, Record


def explain(schema: AvroType, value: Any, path: str) -> str | None:
    """Return the first thing wrong with the value, or None if the schema allows it.

    The text names the field and what it should be, and of the value only its type: values may be about a person.

    Example:
        >>> explain(Nullable(Primitive.BOOLEAN), "yes", "ApplicationEvent.internal")
        'ApplicationEvent.internal: expected boolean, found str'
    """
    if isinstance(schema, Nullable):
        return None if value is None else explain(schema.inner, value, path)
    expected = _unmet(schema, value)
    if expected:
        return f"{path}: expected {expected}, found {type(value).__name__}"
    return next((problem for problem in (explain(*part) for part in _parts(schema, value, path)) if problem), None)


def _unmet(schema: AvroType, value: Any) -> str | None:
    """Return what the value as a whole should be and is not; its parts are another matter."""
    match schema:
        case Primitive():
            is_allowed, expected = PRIMITIVES[schema]
            return None if is_allowed(value) else expected
        case Choice(symbols=symbols):
            return None if value in symbols else f"one of {', '.join(symbols)}"
        case Array():
            return None if isinstance(value, Sequence) and not isinstance(value, str | bytes) else "a list"
        case Map():
            return None if isinstance(value, Mapping) else "a dict"
        case Record(name, fields):
            return None if isinstance(value, tuple) and len(value) == len(fields) else name
        case _:
            return None


def _parts(schema: AvroType, value: Any, path: str) -> Iterator[tuple[AvroType, Any, str]]:
    match schema:
        case Array(items):
            yield from ((items, item, f"{path}[{index}]") for index, item in enumerate(value))
        case Map(values):
            yield from ((Primitive.STRING, key, f"{path} key") for key in value)
            yield from ((values, item, f"{path} value") for item in value.values())
        case Record(fields=fields):
            for field, item in zip(fields, value, strict=True):
                yield field.type, item, f"{path}.{field.name}"


def _is_text(value: object) -> bool:
    """Say whether UTF-8 can hold the value: half of a surrogate pair is a str, but no text."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _is_integer(bits: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


PRIMITIVES: Mapping[Primitive, tuple[Callable[[Any], bool], str]] = {
    Primitive.STRING: (_is_text, "text that UTF-8 can hold"),
    Primitive.BYTES: (lambda value: isinstance(value, bytes), "bytes"),
    Primitive.INT: (_is_integer(32), "an integer of 32 bits"),
    Primitive.LONG: (_is_integer(64), "an integer of 64 bits"),
    Primitive.DOUBLE: (lambda value: isinstance(value, int | float), "a number"),
    Primitive.BOOLEAN: (lambda value: isinstance(value, bool), "boolean"),
}
"""What each primitive allows, and how to say so."""
