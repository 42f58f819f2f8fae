"""The local resolver: what it reads, and the contradictions that stop it."""

import json
from pathlib import Path

import pytest

from pipeline.avro.definition import read_record
from pipeline.avro.resolver import RecordSchema, SchemaFilesError
from pipeline.codec import LocalResolver

TICK = '{"type": "record", "name": "Tick", "fields": [{"name": "minute", "type": "long"}]}'
ENTRY = '{"name": "Tick", "version": 1, "file": "tick"}'


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ("{", "cannot be read"),
        ('{"1": {"name": "Tick", "version": 1}}', "id 1 cannot be read"),
        (f'{{"x": {ENTRY}}}', "id x cannot be read"),
        ('{"1": {"name": "Tick", "version": 1, "file": "nowhere"}}', "id 1 cannot be read"),
        ('{"1": {"name": "Clock", "version": 1, "file": "tick"}}', "id 1 says Clock"),
        (f'{{"1": {ENTRY}, "1": {ENTRY}}}', r"\['1'\] appear twice"),
        (f'{{"1": {ENTRY}, "2": {ENTRY}}}', "Tick version 1 has two ids"),
    ],
)
def test_schema_files_that_contradict_each_other_stop_the_start(tmp_path: Path, ids: str, problem: str) -> None:
    (tmp_path / "ids.json").write_text(ids)
    (tmp_path / "tick").write_text(TICK)

    with pytest.raises(SchemaFilesError, match=problem):
        LocalResolver.load(tmp_path)


def test_a_folder_without_ids_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SchemaFilesError, match=r"ids\.json"):
        LocalResolver.load(tmp_path)


def test_the_highest_version_is_the_one_written() -> None:
    tick = read_record(json.loads(TICK))
    versions = [RecordSchema(number, "Tick", number, {}, tick) for number in (3, 1, 2)]

    assert LocalResolver(versions).current("Tick").version == 3
