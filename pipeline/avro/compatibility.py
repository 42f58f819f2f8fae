"""Whether a schema can read what another wrote: the rules that every new version must keep (``BACKWARD_TRANSITIVE``).

Allowed are: a new field with a default, dropping a field, making a field nullable, widening int to long, new or
reordered symbols of an enum (removed ones only where the enum has a default). Everything else needs a new record.

**Source:** Apache Avro 1.12 specification, "Schema Resolution", of which this is the part that we use.
"""

from pipeline.avro.definition import Array, AvroType, Choice, Map, Nullable, Primitive, Record
from pipeline.errors import TerminalError


class IncompatibleSchemasError(TerminalError):
    """A schema cannot read what another one wrote."""

    def __init__(self, name: str, problems: list[str]) -> None:
        self.name = name
        self.problems = problems
        super().__init__(
            f"{name} cannot be read with the schema of this version: {'; '.join(problems)}. If a newer version wrote "
            "it, upgrade this one; if you changed the schema, add the field with a default instead"
        )


def incompatibilities(writer: Record, reader: Record) -> list[str]:
    """Return why ``reader`` cannot read what ``writer`` wrote; empty when it can.

    Args:
        writer: schema of the stored bytes.
        reader: schema of the program that reads them.

    Returns:
        One sentence a problem, each beginning with the path of the field.

    Example:
        >>> from pipeline.avro.definition import Field
        >>> old = Record("Tick", (Field("minute", Primitive.LONG, False, None, ""),), "")
        >>> new = Record("Tick", (*old.fields, Field("second", Primitive.INT, False, None, "")), "")
        >>> incompatibilities(writer=old, reader=new)
        ['Tick.second: new, but has no default']
        >>> incompatibilities(writer=new, reader=old)
        []
    """
    return _problems(writer, reader, writer.name)


def _problems(writer: AvroType, reader: AvroType, path: str) -> list[str]:
    problems: list[str] = []
    match writer, reader:
        case Nullable(), Nullable():
            problems = _problems(writer.inner, reader.inner, path)
        case Nullable(), _:
            problems = [f"{path}: was nullable, is no longer"]
        case _, Nullable():
            problems = _problems(writer, reader.inner, path)
        case Choice(), Choice():
            problems = _choice_problems(writer, reader, path)
        case Array(), Array():
            problems = _problems(writer.items, reader.items, f"{path}[]")
        case Map(), Map():
            problems = _problems(writer.values, reader.values, f"{path}{{}}")
        case Record(), Record():
            problems = _record_problems(writer, reader, path)
        case _:
            if writer != reader and (writer, reader) != (Primitive.INT, Primitive.LONG):
                problems = [f"{path}: was {_kind(writer)}, is {_kind(reader)}"]
    return problems


def _choice_problems(writer: Choice, reader: Choice, path: str) -> list[str]:
    if writer.name != reader.name:
        return [f"{path}: was enum {writer.name}, is enum {reader.name}"]
    removed = sorted(set(writer.symbols) - set(reader.symbols))
    return [f"{path}: symbols {removed} were removed and there is no default"] if removed and not reader.default else []


def _record_problems(writer: Record, reader: Record, path: str) -> list[str]:
    if writer.name != reader.name:
        return [f"{path}: was record {writer.name}, is record {reader.name}"]
    written = {field.name: field for field in writer.fields}
    problems: list[str] = []
    for field in reader.fields:
        here = f"{path}.{field.name}"
        if field.name in written:
            problems += _problems(written[field.name].type, field.type, here)
        elif not field.has_default:
            problems.append(f"{here}: new, but has no default")
        elif field.default and isinstance(field.default, list | dict):
            problems.append(f"{here}: new, but its default is not empty; only null, empty and plain defaults are used")
    return problems


def _kind(schema: AvroType) -> str:
    return str(schema) if isinstance(schema, Primitive) else type(schema).__name__.lower()
