"""What a line says is what the record says; what is wrong with it is said with line, field, expectation and finding."""

import json
import string
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.avro.resolver import LocalResolver
from pipeline.domain.records import ApplicationEvent, Check, Control, EqualityAnswers, Offer, VacancyEvent
from pipeline.intake.ndjson import MAX_UNKNOWN_NAMES, RECORD_NAMES, Canonical, LineReader, Problem, write_line
from pipeline.intake.times import LAST_MS

EVENT: dict[str, Any] = {
    "record": "application_event",
    "event_id": "e1",
    "event_type": "shortlisted",
    "event_time": "2026-03-29T01:30:00Z",
    "organisation": "RXX",
    "application_id": "a1",
}
ANSWERS: dict[str, Any] = {
    "record": "equality_answers",
    "event_id": "q1",
    "event_time": "2026-03-01T10:00:00Z",
    "organisation": "RXX",
    "application_id": "a1",
    "status": "given",
    "collected_at": "application",
    "answers": [{"characteristic": "ethnicity", "codeset": "nhs_ethnic_category", "code": "A"}],
}


def read(line: dict[str, Any] | bytes) -> Canonical | Problem | None:
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    return LineReader().read(raw, 7)


def problem_of(line: dict[str, Any] | bytes) -> Problem:
    found = read(line)
    assert isinstance(found, Problem), found
    assert found.line == 7
    return found


def test_what_a_source_leaves_out_is_derived() -> None:
    record = read(EVENT)
    assert isinstance(record, ApplicationEvent)
    assert record.event_time == record.observed_time == 1_774_747_800_000
    assert record.source_system == "ndjson"


def test_time_may_be_written_with_any_offset_or_in_milliseconds() -> None:
    times = ["2026-03-29T02:30:00+01:00", "2026-03-29T01:30:00.000Z", 1_774_747_800_000]
    assert {read({**EVENT, "event_time": time}) for time in times} == {read(EVENT)}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("event_time", "2026-03-29T01:30:00", "a time with an offset"),
        ("event_time", "2026-03-29", "a time with an offset"),
        ("event_time", "29/03/2026 01:30", "an ISO-8601 time"),
        ("event_time", 1_774_747_800, "looks like seconds"),
        ("event_time", 1e12, "an ISO-8601 time"),
        ("event_time", True, "an ISO-8601 time"),
        ("event_time", 10**15, "an ISO-8601 time"),
        ("event_type", "hired", "one of applied, longlisted, shortlisted"),
        ("event_type", ["applied"], "one of applied"),
        ("stage", "sifted", "one of longlisted, shortlisted"),
        ("organisation", "", "text that is not empty"),
        ("organisation", 17, "text that is not empty"),
        ("application_id", "x" * 5000, "at most 4000 characters"),
        ("internal", "yes", "true or false"),
        ("check", "passed", "an object with kind, status"),
        ("check", {"kind": "identity"}, "a value: this field is required"),
        ("check", {"kind": "identity", "status": "passed", "by": "X"}, "no such field here"),
        ("offer", {"salary_point": 3.5}, "a whole number"),
        ("reason_code", "\ud800", "valid Unicode"),
        ("record", "application", "one of application_event"),
        ("record", None, "one of application_event"),
        ("record", {"a": 1}, "one of application_event"),
    ],
)
def test_wrong_value_is_named_with_what_was_expected(field: str, value: Any, expected: str) -> None:
    found = problem_of({**EVENT, field: value})
    assert found.field.split(".")[0] == field
    assert expected in found.expected


@pytest.mark.parametrize("field", ["event_type", "event_time", "organisation", "application_id"])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_required_field_that_is_absent_or_null_is_named(field: str, how: str) -> None:
    line = {**EVENT, field: None}
    if how == "absent":
        del line[field]
    found = problem_of(line)
    assert (found.field, found.expected, found.found) == (field, "a value: this field is required", "nothing")


@pytest.mark.parametrize(
    ("line", "expected", "found"),
    [
        (b"event_type,event_time\n", "a JSON object", "no JSON"),
        (b"[1]\n", "a JSON object", "[1]"),
        (b'{"record": "application_event"', "a JSON object", "no JSON"),
        (b'{"title": "caf\xe9"}', "UTF-8 text", "0xe9"),
        (b"[" * 100_000, "a JSON object", "too large"),
        (b'{"event_time": ' + b"9" * 5000 + b"}", "a JSON object", "too large"),
    ],
)
def test_text_that_is_no_json_object_is_a_problem_and_not_an_error(line: bytes, expected: str, found: str) -> None:
    problem = problem_of(line)
    assert expected in problem.expected
    assert found in problem.found


@pytest.mark.parametrize("line", [b"", b"\n", b"  \r\n"])
def test_blank_line_is_nothing(line: bytes) -> None:
    assert read(line) is None


def test_unknown_fields_are_ignored_and_counted() -> None:
    reader = LineReader()
    for _ in range(3):
        record = reader.read(json.dumps({**EVENT, "colour": "blue", "nested": {"a": [1]}}).encode(), 1)
        assert record == read(EVENT)
    assert reader.unknown_fields == {"colour": 3, "nested": 3}


def test_file_of_random_field_names_fills_no_memory() -> None:
    reader = LineReader()
    for number in range(MAX_UNKNOWN_NAMES + 50):
        reader.read(json.dumps({**EVENT, f"f{number}": 1}).encode(), 1)
    assert len(reader.unknown_fields) == MAX_UNKNOWN_NAMES + 1
    assert reader.unknown_fields["(other names)"] == 50


@pytest.mark.parametrize(
    "extra",
    [
        {"name": "Jo Doe"},
        {"Email": "jo@example.org"},
        {"date_of_birth": "1990-01-01"},
        {"NI number": "QQ123456C"},
        {"candidate": {"contact": [{"phone_number": "1"}]}},
        {"applicant_surname": "Doe"},
    ],
)
def test_field_that_names_a_person_refuses_the_line_without_repeating_its_value(extra: dict[str, Any]) -> None:
    problem = problem_of({**EVENT, **extra})
    assert problem.is_personal
    assert "remove this field" in problem.expected
    said = str(problem) + problem.detail()
    assert not any(value in said for value in ("Doe", "jo@", "1990", "QQ12"))


def test_id_that_is_an_e_mail_address_or_ni_number_is_refused() -> None:
    for value in ("jo.doe@example.org", "QQ 12 34 56 C"):
        problem = problem_of({**EVENT, "application_id": value})
        assert problem.is_personal
        assert value not in str(problem)


def test_detail_for_the_dead_letters_repeats_neither_values_nor_foreign_field_names() -> None:
    problem = problem_of({**EVENT, "check": {"kind": "identity", "Jo Doe": 1}})
    assert "Jo Doe" in str(problem), "the terminal of whoever has the file may show it"
    assert problem.detail() == "field check: expected no such field here"
    assert "hired" not in problem_of({**EVENT, "event_type": "hired"}).detail()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"characteristic": "ethnicity", "codeset": "nhs_ethnic_category", "code": "Q"}, "a code of nhs_ethnic"),
        ({"characteristic": "ethnicity", "codeset": "ethnic", "code": "A"}, "a code set"),
        ({"characteristic": "ethnicity", "code": "A"}, "codeset and code"),
        ({"characteristic": "race", "codeset": "nhs_ethnic_category", "code": "A"}, "one of ethnicity"),
        (
            {"characteristic": "sex", "codeset": "nhs_stated_gender", "code": "1", "unknown": "declined"},
            "either a code or unknown",
        ),
        ({"characteristic": "sex", "unknown": "secret"}, "one of not_asked"),
    ],
)
def test_answer_must_be_one_listed_code_or_one_kind_of_unknown(answer: dict[str, Any], expected: str) -> None:
    problem = problem_of({**ANSWERS, "answers": [ANSWERS["answers"][0], answer]})
    assert problem.field.startswith("answers.1")
    assert expected in problem.expected


def test_code_of_an_employers_own_list_is_accepted() -> None:
    own = {"characteristic": "religion", "codeset": "local:chaplaincy", "code": "17"}
    assert isinstance(read({**ANSWERS, "answers": [own]}), EqualityAnswers)


def test_same_content_without_an_id_is_the_same_event_however_it_is_written() -> None:
    line = {key: value for key, value in EVENT.items() if key != "event_id"}
    again = {**dict(reversed(line.items())), "event_time": 1_774_747_800_000, "observed_time": 1_774_790_000_000}
    other = {**line, "event_type": "rejected"}
    ids = [record.event_id for record in (read(line), read(again), read(other)) if isinstance(record, ApplicationEvent)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_closing_date_is_a_date() -> None:
    line = {
        "record": "vacancy_event",
        "event_type": "opened",
        "event_time": "2026-03-01T00:00:00Z",
        "organisation": "RXX",
        "vacancy_id": "v1",
        "closing_date": "1970-01-31",
    }
    record = read(line)
    assert isinstance(record, VacancyEvent)
    assert record.closing_date == 30
    assert "a date" in problem_of({**line, "closing_date": "31/01/1970"}).expected


def texts(limit: int = 12) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=limit)


def value_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one return a kind of type
    """Build values that a schema type allows; written against the schema, not against the reader."""
    if isinstance(kind, list):
        return st.none() | value_of(next(one for one in kind if one != "null"))
    if isinstance(kind, dict):
        if kind.get("logicalType") == "timestamp-millis":
            return st.integers(0, LAST_MS)
        if kind.get("logicalType") == "date":
            return st.integers(0, 2_000_000)
        if kind["type"] == "enum":
            return st.sampled_from(kind["symbols"])
        if kind["type"] == "record":
            return record_of(kind)
        return value_of(kind["type"])
    return {"string": texts(), "boolean": st.booleans(), "int": st.integers(0, 2**31 - 1)}[kind]


CODED = st.one_of(
    st.sampled_from([("nhs_ethnic_category", "A", None), ("age_band", "65+", None), ("local:x", "é", None)]),
    st.sampled_from([(None, None, kind) for kind in ("not_asked", "declined", "withdrawn")]),
)


def record_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    from pipeline.domain import records  # noqa: PLC0415

    make = getattr(records, schema["name"])
    fields = {}
    for field in schema["fields"]:
        if field["name"] == "answers":
            answers = st.tuples(st.sampled_from(["sex", "age"]), CODED).map(lambda a: records.Answer(a[0], *a[1]))
            fields[field["name"]] = st.lists(answers, max_size=3).map(tuple)
        elif field["name"] == "counts":
            cells = st.tuples(CODED, st.integers(0, 999)).map(lambda c: records.TableCount(*c[0], c[1]))
            fields[field["name"]] = st.lists(cells, max_size=3).map(tuple)
        else:
            fields[field["name"]] = value_of(field["type"])
    return st.builds(make, **fields)


RECORDS = st.one_of(
    *(record_of(LocalResolver.load().current(cls.__name__).definition) for cls in RECORD_NAMES.values())
)


@given(RECORDS)
def test_written_record_reads_back_equal(record: Canonical) -> None:
    line = write_line(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert LineReader().read(line, 1) == record


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([EVENT, ANSWERS]), st.data())
def test_no_json_value_in_any_field_is_more_than_a_problem(line: dict[str, Any], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from([*line, "check", "offer", "closing_date", "voids"]))
    found = read({**line, field: data.draw(JSON)})
    assert isinstance(found, (*get_args(Canonical), Problem))
    assert str(found)


@given(st.binary(max_size=60))
def test_no_bytes_are_more_than_a_problem(raw: bytes) -> None:
    assert isinstance(read(raw), Problem | None)


def test_every_canonical_record_has_a_name() -> None:
    assert set(RECORD_NAMES.values()) == set(get_args(Canonical))
    assert get_type_hints(Control)["event_time"] is int
    assert Check("identity", "passed") == ("identity", "passed")
    assert Offer() == (None,)
