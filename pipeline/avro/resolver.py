"""Schemas by id: which schema wrote these bytes, and which id a record is written with.

Two resolvers stand behind one protocol: the local one reads ``schemas/ids.json`` and the files beside it (embedded
default); a schema registry can take its place without the codec noticing.
"""

import json
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Protocol, Self

from pipeline.avro.definition import Record, read_record
from pipeline.errors import TerminalError


class SchemaFilesError(TerminalError):
    """``schemas/ids.json`` and the schema files beside it do not fit together."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"schemas/ids.json: {problem}. Every id needs name, version and file, and no id may be used twice; "
            "restore the folder schemas/ of this version"
        )


class UnknownRecordNameError(TerminalError):
    """No schema id is known for a record that is to be written."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        super().__init__(f"no schema id for record {name!r}; known: {', '.join(known)}. Add it to schemas/ids.json")


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """One version of the schema of one record: ``definition`` is its JSON, ``record`` what it means."""

    schema_id: int
    name: str
    version: int
    definition: dict[str, Any]
    record: Record


class SchemaResolver(Protocol):
    """What the codec needs to know about schemas."""

    def by_id(self, schema_id: int) -> RecordSchema | None:
        """Return the schema that the id stands for, or None when nobody knows it.

        Raises:
            TransientError: the registry cannot be reached; the caller pauses.
        """

    def current(self, name: str) -> RecordSchema:
        """Return the schema that records of this name are written with: the one that comes with this program.

        A registry may know a newer one; this program can neither write it nor read it, and must not try.

        Raises:
            UnknownRecordNameError: there is none.
        """


class LocalResolver:
    """Ids fixed in ``schemas/ids.json``; the highest version of a record is the one written."""

    def __init__(self, schemas: list[RecordSchema]) -> None:
        self._by_id = {schema.schema_id: schema for schema in schemas}
        self._current: dict[str, RecordSchema] = {}
        for schema in sorted(schemas, key=lambda schema: schema.version):
            older = self._current.get(schema.name)
            if older and older.version == schema.version:
                raise SchemaFilesError(f"{schema.name} version {schema.version} has two ids")
            self._current[schema.name] = schema

    @classmethod
    def load(cls, folder: Traversable | None = None) -> Self:
        """Read the schemas that come with this version of the program, or those of another folder.

        Raises:
            SchemaFilesError: the folder is incomplete or contradicts itself.
        """
        folder = folder or resources.files("schemas")
        try:
            entries = json.loads(folder.joinpath("ids.json").read_text("utf-8"), object_pairs_hook=_unique_keys)
        except (OSError, ValueError) as error:
            raise SchemaFilesError(f"cannot be read ({error!r})") from error
        return cls([_read_schema(folder, schema_id, entry) for schema_id, entry in entries.items()])

    def by_id(self, schema_id: int) -> RecordSchema | None:
        """Return the schema that the id stands for, or None."""
        return self._by_id.get(schema_id)

    def current(self, name: str) -> RecordSchema:
        """Return the newest schema of the record.

        Raises:
            UnknownRecordNameError: ``schemas/ids.json`` has none.
        """
        try:
            return self._current[name]
        except KeyError:
            raise UnknownRecordNameError(name, sorted(self._current)) from None

    def schemas(self) -> list[RecordSchema]:
        """Return every schema of every version, by id."""
        return [self._by_id[schema_id] for schema_id in sorted(self._by_id)]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        keys = [key for key, _ in pairs]
        raise SchemaFilesError(f"{sorted({key for key in keys if keys.count(key) > 1})} appear twice")
    return unique


def _read_schema(folder: Traversable, schema_id: str, entry: dict[str, Any]) -> RecordSchema:
    try:
        number, name, version, file = int(schema_id), entry["name"], entry["version"], entry["file"]
        definition = json.loads(folder.joinpath(file).read_text("utf-8"))
    except (KeyError, OSError, ValueError) as error:
        raise SchemaFilesError(f"id {schema_id} cannot be read ({error!r})") from error
    if definition["name"] != name:
        raise SchemaFilesError(f"id {schema_id} says {name}, its file {file} defines {definition['name']}")
    return RecordSchema(number, name, version, definition, read_record(definition))
