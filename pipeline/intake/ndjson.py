"""Canonical NDJSON: one record a line, the import and export format (docs/data dictionary names every field).

``"record"`` says which record a line is. Times are ISO-8601 with an offset or epoch milliseconds. Unknown
fields are ignored and counted; fields that name a person refuse the line. What a source may leave out is
derived: ``event_id`` from the content, so that the same line again is the same event; ``observed_time`` =
``event_time``.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pipeline.domain.records import (
    Answer,
    ApplicationEvent,
    Check,
    Control,
    EqualityAnswers,
    Offer,
    TableCount,
    VacancyEqualityTable,
    VacancyEvent,
)
from pipeline.intake.fields import MISSING, RecordFields, Unacceptable, complete, fields_of, fill
from pipeline.intake.personal import looks_personal, personal_field_in
from pipeline.intake.pseudonym import Pseudonyms
from pipeline.intake.times import format_ms
from pipeline.reference import code_lists

Canonical = ApplicationEvent | VacancyEvent | EqualityAnswers | VacancyEqualityTable | Control

RECORD_NAMES: Final[Mapping[str, type[Canonical]]] = {
    "application_event": ApplicationEvent,
    "vacancy_event": VacancyEvent,
    "equality_answers": EqualityAnswers,
    "vacancy_equality_table": VacancyEqualityTable,
    "control": Control,
}
_NAME_OF: Final = {cls: name for name, cls in RECORD_NAMES.items()}
_NOT_CONTENT: Final = ("event_id", "observed_time")
_PERSON_IDS: Final = ("application_id", "candidate_id", "merged_into")

MAX_LINE = 256 * 1024
"""Longest line in bytes: a canonical event has a few hundred, and a state value must stay below 1 MiB."""

MAX_UNKNOWN_NAMES = 1_000
"""How many different unknown field names are counted apart; a file of random keys fills no memory."""

_SHOWN = 60


class Problem(NamedTuple):
    """Why a line was not accepted: what was expected in which field, and what was found there."""

    line: int
    field: str
    expected: str
    found: str
    is_personal: bool = False

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", field {self.field}" if self.field else "")
        return f"{where}: expected {self.expected}, found {self.found}"

    def detail(self) -> str:
        """Return it for the dead letters: no value that was found, no field name that is not ours."""
        ours = [part for part in self.field.split(".") if part.isdigit() or part in _OUR_FIELDS]
        return f"field {'.'.join(ours) or '?'}: expected {self.expected}"


class LineReader:
    """Reads lines of one source to records; counts what it ignored."""

    def __init__(self, pseudonyms: Pseudonyms | None = None) -> None:
        self.unknown_fields: Counter[str] = Counter()
        self._pseudonyms = pseudonyms
        self._kinds = {name: _Kind(cls) for name, cls in RECORD_NAMES.items()}

    def read(self, line: bytes, number: int) -> Canonical | Problem | None:
        """Return the record of a line, the problem with it, or None for a blank line.

        Args:
            line: the line's bytes, with or without its end.
            number: its number in the file, from 1.
        """
        try:
            source = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not line.strip():
                return None
            return _unreadable(line, number, error)
        if type(source) is not dict:
            return Problem(number, "", "a JSON object", _shown(source))
        try:
            return self._record(source)
        except Unacceptable as problem:
            return Problem(number, problem.field, problem.expected, _shown(problem.found), problem.is_personal)

    def _record(self, source: dict[str, Any]) -> Canonical:
        named = source.pop("record", MISSING)
        kind = self._kinds.get(named) if type(named) is str else None
        if kind is None:
            raise Unacceptable(f"one of {', '.join(RECORD_NAMES)}", named, "record")
        values = fill(kind.fields, source, self._ignore)
        kind.derive_times(values)
        if self._pseudonyms is not None:
            kind.pseudonymise(values, self._pseudonyms)
        elif kind.person_ids:
            kind.refuse_personal_ids(values)
        if values[kind.event_id] is MISSING:
            values[kind.event_id] = kind.content_id(values)
        record: Canonical = complete(kind.fields, values)
        check = _CHECKS.get(type(record))
        if check is not None:
            check(record)
        return record

    def _ignore(self, name: str, value: Any) -> None:
        path = personal_field_in(name, value)
        if path is not None:
            raise Unacceptable(_NO_PERSONAL_DATA, "such a field", path, is_personal=True)
        if name in self.unknown_fields or len(self.unknown_fields) < MAX_UNKNOWN_NAMES:
            self.unknown_fields[name] += 1
        else:
            self.unknown_fields["(other names)"] += 1


_OUR_FIELDS: Final = frozenset(
    {"record"} | {name for cls in (*RECORD_NAMES.values(), Answer, TableCount, Check, Offer) for name in cls._fields}
)

_NO_PERSONAL_DATA: Final = (
    "no personal data: remove this field from the export (names, contacts, birth dates and NI numbers are "
    "never forwarded; age goes in as an age_band answer)"
)
_NO_PERSONAL_ID: Final = (
    "an id that is no personal data: export the system's own number, or set PARITYFLOW_PSEUDONYM_KEY to "
    "replace ids by keyed hashes"
)


class _Kind:
    """Where the fields that intake derives or replaces stand in one kind of record."""

    def __init__(self, cls: type[Canonical]) -> None:
        names = cls._fields
        self.name = _NAME_OF[cls]
        self.fields: RecordFields = fields_of(cls.__name__)
        self.event_id = names.index("event_id")
        self.organisation = names.index("organisation")
        self.person_ids = tuple((names.index(n), n) for n in _PERSON_IDS if n in names)
        self._event_time = names.index("event_time") if "event_time" in names else None
        self._observed_time = names.index("observed_time") if "observed_time" in names else None
        self._source_system = names.index("source_system") if "source_system" in names else None
        self._content = tuple(i for i, name in enumerate(names) if name not in _NOT_CONTENT)

    def derive_times(self, values: list[Any]) -> None:
        """Fill what a source may leave out: when intake saw it, and what the source is called."""
        observed, system = self._observed_time, self._source_system
        if observed is not None and self._event_time is not None and values[observed] is MISSING:
            values[observed] = values[self._event_time]
        if system is not None and values[system] is MISSING:
            values[system] = "ndjson"

    def pseudonymise(self, values: list[Any], pseudonyms: Pseudonyms) -> None:
        """Replace the ids of the person; a missing organisation is reported later."""
        organisation = values[self.organisation]
        if organisation is MISSING:
            return
        for position, name in self.person_ids:
            raw = values[position]
            if raw is not MISSING and raw is not None:
                replace = pseudonyms.candidate if name == "candidate_id" else pseudonyms.application
                values[position] = replace(organisation, raw)

    def refuse_personal_ids(self, values: list[Any]) -> None:
        """Refuse ids that are an e-mail address or an NI number when nothing would hide them."""
        for position, name in self.person_ids:
            raw = values[position]
            if raw is not MISSING and raw is not None and looks_personal(raw):
                raise Unacceptable(_NO_PERSONAL_ID, "an e-mail address or NI number", name, is_personal=True)

    def content_id(self, values: list[Any]) -> str:
        """Return the id of a record whose source gave none: a hash of all that it says.

        Taken after pseudonyms, so that it reveals no id to whoever guesses; without ``observed_time``, so
        that a later export of the same fact is the same event.
        """
        content = [None if values[i] is MISSING else values[i] for i in self._content]
        text = json.dumps([self.name, content], separators=(",", ":"), ensure_ascii=False)
        return "sha256-" + hashlib.sha256(text.encode()).hexdigest()[:40]


def write_line(record: Canonical) -> bytes:
    """Return the canonical NDJSON line of a record, with its line end; fields without a value are left out.

    Args:
        record: any canonical record.

    Example:
        >>> write_line(Control("c1", 86_400_000, "RXX", "loading"))[:62]
        b'{"record":"control","event_id":"c1","event_time":"1970-01-02T0'
    """
    name, writers = _WRITERS[type(record)]
    out: dict[str, Any] = {"record": name}
    for (field, write), value in zip(writers, record, strict=True):
        if value is not None:
            out[field] = value if write is None else write(value)
    if name in _IMPLIES_OBSERVED and out["observed_time"] == out["event_time"]:
        del out["observed_time"]
    return _encode(out).encode() + b"\n"


def time_of(record: Canonical) -> int:
    """Return the time that a record is ordered by: its event time, for a table the day it was taken."""
    return record.as_of if type(record) is VacancyEqualityTable else record.event_time  # type: ignore[union-attr]


def _object(value: Any) -> dict[str, Any]:
    return {name: item for name, item in zip(value._fields, value, strict=True) if item is not None}


def _objects(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [_object(value) for value in values]


def _day(day: int) -> str:
    return format_ms(day * 86_400_000)[:10]


_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_WRITE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "event_time": format_ms,
    "observed_time": format_ms,
    "as_of": format_ms,
    "closing_date": _day,
    "check": _object,
    "offer": _object,
    "answers": _objects,
    "counts": _objects,
}
_WRITERS: Final = {
    cls: (name, tuple((field, _WRITE.get(field)) for field in cls._fields)) for name, cls in RECORD_NAMES.items()
}
_IMPLIES_OBSERVED: Final = frozenset({"application_event", "vacancy_event"})


def _check_answers(record: EqualityAnswers) -> None:
    for index, answer in enumerate(record.answers):
        _check_coded(answer, f"answers.{index}")


def _check_table(record: VacancyEqualityTable) -> None:
    for index, cell in enumerate(record.counts):
        _check_coded(cell, f"counts.{index}")


def _check_coded(answer: Any, path: str) -> None:
    if answer.unknown is not None:
        if answer.code is not None:
            raise Unacceptable("either a code or unknown, not both", MISSING, path)
    elif answer.codeset is None or answer.code is None:
        raise Unacceptable("codeset and code, or unknown", MISSING, path)
    elif not _is_listed(answer.codeset, answer.code):
        raise Unacceptable(_accepted_codes(answer.codeset), {"codeset": answer.codeset, "code": answer.code}, path)


@lru_cache(maxsize=10_000)
def _is_listed(codeset: str, code: str) -> bool:
    return code_lists().is_listed(codeset, code)


def _accepted_codes(codeset: str) -> str:
    for one in code_lists().lists:
        if one.codeset == codeset:
            return f"a code of {codeset}: {', '.join(code.code for code in one.codes)}"
    names = ", ".join(one.codeset for one in code_lists().lists)
    return f"a code set: {names}, or local:<name> for a list of your own"


_CHECKS: Final[Mapping[type, Callable[[Any], None]]] = {
    EqualityAnswers: _check_answers,
    VacancyEqualityTable: _check_table,
}


def _unreadable(line: bytes, number: int, error: Exception) -> Problem:
    if isinstance(error, json.JSONDecodeError):
        return Problem(number, "", "a JSON object", f"text that is no JSON ({error.msg}, character {error.pos + 1})")
    if isinstance(error, UnicodeDecodeError):
        return Problem(
            number,
            "",
            "UTF-8 text",
            f"byte 0x{line[error.start]:02x} at position {error.start + 1}: save the file as UTF-8",
        )
    return Problem(number, "", "a JSON object", "nesting or a number that is too large to read")


def _shown(found: Any) -> str:
    if found is MISSING:
        return "nothing"
    text = json.dumps(found, ensure_ascii=True, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
