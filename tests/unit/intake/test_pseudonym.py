"""Pseudonyms hide ids, keep identity within an employer and nothing across employers."""

import json

import pytest

from pipeline.domain.records import ApplicationEvent
from pipeline.intake import pseudonym
from pipeline.intake.ndjson import LineReader
from pipeline.intake.pseudonym import Pseudonyms, pseudonyms_from

LINE = {
    "record": "application_event",
    "event_type": "merged",
    "event_time": "2026-03-29T01:30:00Z",
    "organisation": "RXX",
    "application_id": "A-1",
    "candidate_id": "jo@example.org",
    "merged_into": "A-2",
}


def read(key: str, **changes: str) -> ApplicationEvent:
    record = LineReader(pseudonyms_from(key)).read(json.dumps({**LINE, **changes}).encode(), 1)
    assert isinstance(record, ApplicationEvent)
    return record


def test_same_id_is_the_same_pseudonym_in_every_field_that_names_the_application() -> None:
    assert read("k").merged_into == read("k", application_id="A-2").application_id


def test_pseudonyms_differ_between_keys_employers_and_kinds_of_id() -> None:
    one = Pseudonyms(b"k")
    found = {
        one.application("RXX", "1"),
        one.application("RYY", "1"),
        one.candidate("RXX", "1"),
        Pseudonyms(b"other").application("RXX", "1"),
    }
    assert len(found) == 4


def test_no_raw_id_is_left_in_the_record() -> None:
    said = repr(read("k"))
    assert not any(raw in said for raw in ("A-1", "A-2", "jo@"))


def test_derived_event_id_depends_on_the_pseudonym_and_not_on_the_raw_id() -> None:
    assert read("k").event_id == read("k").event_id
    assert read("k").event_id != read("other").event_id


def test_pseudonym_is_the_published_function_of_key_employer_and_id() -> None:
    assert Pseudonyms(b"key").application("RXX", "A-1") == "0978e991721c6f6b1a6a592e5e06066f"


@pytest.mark.parametrize("key", [None, "", "  "])
def test_without_a_key_ids_pass_and_one_warning_is_logged(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Log:
        def warning(self, event: str, **_: object) -> None:
            said.append(event)

    monkeypatch.setattr(pseudonym, "_log", Log())
    pseudonym._warn_once.cache_clear()
    assert pseudonyms_from(key) is None
    assert pseudonyms_from(key) is None
    assert said == ["ids_not_pseudonymised"]
