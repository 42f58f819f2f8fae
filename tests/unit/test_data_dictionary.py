"""The data dictionary in ``docs`` is what the schemas say."""

from pathlib import Path

from pipeline.avro.data_dictionary import data_dictionary
from pipeline.avro.resolver import LocalResolver

PAGE = Path(__file__).parents[2] / "docs" / "data-dictionary.md"
SCHEMAS = LocalResolver.load().schemas()


def test_the_page_is_what_the_schemas_say() -> None:
    assert PAGE.read_text("utf-8") == data_dictionary(SCHEMAS), (
        "run: python -m pipeline.avro.data_dictionary docs/data-dictionary.md"
    )


def test_every_record_of_every_schema_has_its_chapter() -> None:
    page = data_dictionary(SCHEMAS)

    assert [schema.name for schema in SCHEMAS if f"\n### {schema.name}\n" not in page] == []


def test_a_nested_record_has_a_table_of_its_own() -> None:
    assert "#### Contribution (in TransitionBatch)" in data_dictionary(SCHEMAS)
