"""The data dictionary as Markdown, written from the schemas so that it cannot go stale.

``python -m pipeline.avro.data_dictionary docs/data-dictionary.md`` writes it; a test compares.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.avro.resolver import LocalResolver, RecordSchema

INTRODUCTION = """\
# Data dictionary

Every record on the wire and in the agents' state. Written from `schemas/avro` by
`python -m pipeline.avro.data_dictionary docs/data-dictionary.md`; change the schemas, not this page. How schemas may
change is said in [schemas/README.md](../schemas/README.md); the ids are Confluent schema ids (`schemas/ids.json`).
"""

SECTIONS = {
    "Inputs": range(1, 20),
    "Outputs": range(20, 30),
    "State of the FUNNEL agent": range(30, 40),
}
"""Which records a chapter shows, by the id of their first version."""

TYPES = {
    "string": "text",
    "bytes": "bytes",
    "int": "integer",
    "long": "integer",
    "double": "number",
    "boolean": "yes or no",
    "timestamp-millis": "time",
    "date": "day",
}


def data_dictionary(schemas: Iterable[RecordSchema]) -> str:
    """Return the dictionary of the newest version of each record, in the order of their first ids.

    Args:
        schemas: all versions of all records.
    """
    ordered = sorted(schemas, key=lambda schema: schema.schema_id)
    first_ids: dict[str, int] = {}
    newest: dict[str, RecordSchema] = {}
    for schema in ordered:
        first_ids.setdefault(schema.name, schema.schema_id)
        if schema.name not in newest or newest[schema.name].version < schema.version:
            newest[schema.name] = schema
    chapters = [INTRODUCTION]
    for title, ids in SECTIONS.items():
        chapters.append(f"## {title}\n")
        chapters += [_record_chapter(schema) for name, schema in newest.items() if first_ids[name] in ids]
    return "\n".join(chapters)


def _record_chapter(schema: RecordSchema) -> str:
    lines = [f"### {schema.name}\n", f"Schema id {schema.schema_id}, version {schema.version}.\n"]
    inside: list[Mapping[str, Any]] = [schema.definition]
    for record in inside:
        if record is not schema.definition:
            lines.append(f"#### {record['name']} (in {schema.name})\n")
        lines.append(f"{_text(record['doc'])}\n")
        lines += ["| Field | Type | Meaning |", "|---|---|---|"]
        for field in record["fields"]:
            lines.append(f"| `{field['name']}` | {_type(field['type'], inside)} | {_text(field['doc'])} |")
        lines.append("")
    return "\n".join(lines)


def _type(schema: Any, inside: list[Mapping[str, Any]]) -> str:
    """Return a type in words, and note records inside it, which get a table of their own."""
    match schema:
        case ["null", inner]:
            words = f"{_type(inner, inside)}, or null"
        case {"logicalType": str(name)}:
            words = TYPES[name]
        case {"type": "array", "items": items}:
            words = f"list of {_type(items, inside)}"
        case {"type": "map", "values": values}:
            words = f"{_type(values, inside)} by text"
        case {"type": "enum", "symbols": symbols}:
            words = " / ".join(f"`{symbol}`" for symbol in symbols)
        case {"type": "record", "name": str(name)}:
            inside.append(schema)
            words = name
        case _:
            words = TYPES[schema]
    return words


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(data_dictionary(LocalResolver.load().schemas()), "utf-8")
