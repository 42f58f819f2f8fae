"""Add example bytes of each schema version that has none yet: ``python -m tests.vectors.write_wire_examples``.

Existing examples are never written again: they prove that what was once written can still be read. Until a version is
released, delete its entry to have it made anew.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.avro.definition import Array, AvroType, Choice, Map, Nullable, Primitive, Record
from pipeline.avro.record_classes import RECORD_CLASSES
from pipeline.avro.resolver import LocalResolver
from pipeline.codec import Codec

EXAMPLES = Path(__file__).parent / "wire_examples.json"

PRIMITIVES: dict[Primitive, Any] = {
    Primitive.STRING: "Sète 1",
    Primitive.BYTES: b"\x00\xff",
    Primitive.INT: 20_454,
    Primitive.LONG: 1_767_225_600_000,
    Primitive.DOUBLE: 0.5,
    Primitive.BOOLEAN: True,
}


def example(schema: AvroType) -> Any:
    """Return a value of the schema in which every field is set."""
    match schema:
        case Primitive():
            return PRIMITIVES[schema]
        case Choice(symbols=symbols):
            return symbols[-1]
        case Nullable(inner):
            return example(inner)
        case Array(items):
            return [example(items)] * 2
        case Map(values):
            return {"key": example(values)}
        case Record(name, fields):
            return RECORD_CLASSES[name](*(example(field.type) for field in fields))


def main() -> None:
    """Write the examples that are missing."""
    resolver = LocalResolver.load()
    codec = Codec(resolver)
    examples = json.loads(EXAMPLES.read_text()) if EXAMPLES.exists() else {}
    for schema in resolver.schemas():
        if resolver.current(schema.name) is schema:
            examples.setdefault(f"{schema.name}.v{schema.version}", codec.encode(example(schema.record)).hex())
    EXAMPLES.write_text(json.dumps(examples, indent=2) + "\n")


if __name__ == "__main__":
    main()
