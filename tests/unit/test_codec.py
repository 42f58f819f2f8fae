"""Framing, refusals and the errors of a record that cannot be written."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from pipeline.avro.decoder import RecordClassMismatchError
from pipeline.avro.definition import read_record
from pipeline.avro.resolver import RecordSchema, UnknownRecordNameError
from pipeline.codec import (
    HEADER_BYTES,
    Codec,
    Decoded,
    LocalResolver,
    Rejected,
    UnencodableRecordError,
    UnreadableHeadError,
)
from pipeline.domain.records import (
    Answer,
    ApplicationEvent,
    Check,
    Control,
    EqualityAnswers,
    Offer,
    TableCount,
    Tick,
    VacancyEqualityTable,
)
from pipeline.domain.rejects import RejectReason

CODEC = Codec(LocalResolver.load())

OFFERED = ApplicationEvent(
    event_id="event-1",
    event_type="offered",
    event_time=1_767_225_600_000,
    observed_time=1_767_225_600_500,
    source_system="trac",
    organisation="RXX",
    application_id="application-1",
    vacancy_id="vacancy-1",
    stage="shortlisted",
    decision_method="human",
    internal=False,
    check=Check("identity", "passed"),
    offer=Offer(5),
)
CONTROL = Control("event-2", 1_767_225_600_000, "RXX", "loading")
ANSWERS = EqualityAnswers(
    "event-3", 0, "RXX", "application-1", "given", "application", [Answer("age", "age_band", "25-34")]
)


def refused(data: bytes | None) -> Rejected:
    decoded = CODEC.decode(data)
    assert isinstance(decoded, Rejected), decoded
    return decoded


def test_a_value_begins_with_byte_0_and_the_schema_id_in_network_order() -> None:
    assert CODEC.encode(OFFERED)[:HEADER_BYTES] == b"\x00\x00\x00\x00\x02"


def test_a_tick_is_seven_bytes_long() -> None:
    assert CODEC.encode(Tick(100)) == bytes.fromhex("0000000007 c801")


def test_a_record_comes_back_with_its_nested_records_as_their_classes() -> None:
    decoded = CODEC.decode(CODEC.encode(OFFERED))

    assert decoded == Decoded(OFFERED)
    assert isinstance(decoded, Decoded)
    assert type(decoded.record.check) is Check
    assert type(decoded.record.offer) is Offer


def test_a_record_in_an_array_comes_back_as_its_class() -> None:
    table = VacancyEqualityTable("e", "RXX", "v", 0, "applied", "sex", [TableCount(None, None, "declined", 3)])

    decoded = CODEC.decode(CODEC.encode(table))

    assert isinstance(decoded, Decoded)
    assert type(decoded.record.counts[0]) is TableCount


def test_a_tuple_is_written_like_a_list() -> None:
    assert CODEC.encode(ANSWERS._replace(answers=tuple(ANSWERS.answers))) == CODEC.encode(ANSWERS)


@pytest.mark.parametrize("number", [0, 1, -1, 63, 64, -64, -65, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])
def test_integers_keep_their_value_at_every_length(number: int) -> None:
    assert CODEC.decode(CODEC.encode(Tick(number))) == Decoded(Tick(number))


@pytest.mark.parametrize("text", ["", "x" * 63, "x" * 64, "x" * 8191, "x" * 8192, "Sète", "\0", "\U0001f9ec"])
def test_text_keeps_its_value_at_every_length(text: str) -> None:
    assert CODEC.decode(CODEC.encode(CONTROL._replace(content_name=text))) == Decoded(
        CONTROL._replace(content_name=text)
    )


@pytest.mark.parametrize("data", [None, b""])
def test_no_value_is_refused_as_empty(data: bytes | None) -> None:
    assert refused(data).reason is RejectReason.EMPTY_VALUE


@pytest.mark.parametrize("data", [b"\x01\x00\x00\x00\x02", b"{", b'{"event_id": 1}', b"\x00", b"\x00\x00\x00\x00"])
def test_another_format_is_refused_as_wrong_magic(data: bytes) -> None:
    assert refused(data).reason is RejectReason.WRONG_MAGIC


@pytest.mark.parametrize("schema_id", [0, 8, 999, 2**32 - 1])
def test_an_id_that_nobody_knows_is_refused_with_the_id(schema_id: int) -> None:
    rejected = refused(b"\0" + schema_id.to_bytes(4, "big") + b"body")

    assert rejected.reason is RejectReason.UNKNOWN_SCHEMA
    assert str(schema_id) in rejected.detail


@pytest.mark.parametrize(
    "record", [OFFERED, CONTROL, ANSWERS, Tick(29_453_760)], ids=lambda record: type(record).__name__
)
def test_a_record_cut_at_any_byte_is_refused(record: tuple[Any, ...]) -> None:
    written = CODEC.encode(record)

    reasons = {refused(written[:end]).reason for end in range(HEADER_BYTES, len(written))}

    assert reasons == {RejectReason.UNDECODABLE}


def test_bytes_after_the_record_are_refused() -> None:
    assert refused(CODEC.encode(CONTROL) + b"\0").reason is RejectReason.TRAILING_BYTES


def test_two_records_in_one_value_are_refused() -> None:
    assert refused(CODEC.encode(CONTROL) + CODEC.encode(CONTROL)).reason is RejectReason.TRAILING_BYTES


def control(kind: bytes = b"\0", name: bytes = b"\0", hash_: bytes = b"\0") -> bytes:
    """Return a Control whose last three fields are given as written."""
    return CODEC.encode(CONTROL)[:-3] + kind + name + hash_


def test_the_parts_of_the_damaged_controls_below_are_right() -> None:
    assert control() == CODEC.encode(CONTROL)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(control(kind=b"\x06"), id="enum index beyond the last symbol"),
        pytest.param(control(kind=b"\x01"), id="enum index -1, which fastavro reads as the last symbol"),
        pytest.param(control(kind=b"\x80\x01"), id="enum index 64"),
        pytest.param(control(name=b"\x04"), id="union index beyond the last branch"),
        pytest.param(control(name=b"\x01"), id="union index -1, which fastavro reads as the last branch"),
        pytest.param(control(name=b"\x02\x02\xff"), id="text that is not UTF-8"),
        pytest.param(control(name=b"\x02\x06\xed\xa0\x80"), id="text with half a surrogate pair"),
        pytest.param(control(name=b"\x02\x01"), id="negative length"),
        pytest.param(control(name=b"\x02\xff\xff\x01"), id="negative length of several bytes"),
        pytest.param(control(name=b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), id="length of 2**63 - 1"),
        pytest.param(control(name=b"\x02" + b"\xff" * 20), id="length without end"),
        pytest.param(b"\0\0\0\0\x07" + b"\xff" * 9 + b"\x02", id="integer beyond 64 bits"),
        pytest.param(b"\0\0\0\0\x07" + b"\x80" * 10 + b"\x00", id="integer of eleven bytes"),
    ],
)
def test_damage_is_refused_and_never_guessed(data: bytes) -> None:
    assert refused(data).reason is RejectReason.UNDECODABLE


def test_an_array_that_claims_to_be_endless_is_refused_at_the_end_of_the_data() -> None:
    written = CODEC.encode(ANSWERS)
    position = written.index(b"\x02\x08", HEADER_BYTES)  # one answer, about characteristic number 4

    endless = written[:position] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + written[position + 1 :]

    assert refused(endless).reason is RejectReason.UNDECODABLE


def test_an_array_in_a_block_with_its_length_is_read() -> None:
    written = CODEC.encode(ANSWERS)
    position = written.index(b"\x02\x08", HEADER_BYTES)

    sized = written[:position] + b"\x01\x2a" + written[position + 1 :]  # one item, 21 bytes, which readers may ignore

    assert CODEC.decode(sized) == Decoded(ANSWERS)


def test_a_refusal_names_no_value_of_the_record() -> None:
    written = CODEC.encode(OFFERED._replace(candidate_id="a-personal-hash"))

    assert "personal" not in refused(written[:-2]).detail


class Mistake(NamedTuple):
    record: tuple[Any, ...]
    problem: str


MISTAKES = {
    "unknown symbol": Mistake(CONTROL._replace(kind="reloading"), "Control.kind: expected one of loading, caught_up"),
    "no symbol": Mistake(CONTROL._replace(kind=None), "Control.kind: expected one of"),
    "unknown optional symbol": Mistake(OFFERED._replace(stage="hired"), "ApplicationEvent.stage: expected one of"),
    "missing text": Mistake(CONTROL._replace(event_id=None), "Control.event_id: expected text"),
    "number for text": Mistake(CONTROL._replace(content_name=3), "Control.content_name: expected text"),
    "broken text": Mistake(CONTROL._replace(content_name="\ud800"), "Control.content_name: expected text"),
    "text for a number": Mistake(CONTROL._replace(event_time="now"), "Control.event_time: expected an integer"),
    "fraction": Mistake(CONTROL._replace(event_time=1.5), "Control.event_time: expected an integer"),
    "beyond 64 bits": Mistake(CONTROL._replace(event_time=2**63), "Control.event_time: expected an integer of 64"),
    "beyond 32 bits": Mistake(OFFERED._replace(offer=Offer(2**31)), "offer.salary_point: expected an integer of 32"),
    "text for a flag": Mistake(OFFERED._replace(internal="yes"), "ApplicationEvent.internal: expected boolean"),
    "text for a list": Mistake(ANSWERS._replace(answers="age"), "EqualityAnswers.answers: expected a list"),
    "dict in a list": Mistake(ANSWERS._replace(answers=[{}]), "EqualityAnswers.answers[0]: expected Answer"),
    "nested symbol": Mistake(ANSWERS._replace(answers=[Answer("hair")]), "answers[0].characteristic: expected one of"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_record_that_cannot_be_written_raises_with_the_field_and_what_it_should_be(mistake: Mistake) -> None:
    with pytest.raises(UnencodableRecordError) as raised:
        CODEC.encode(mistake.record)

    assert mistake.problem in str(raised.value)


def test_the_error_of_a_record_that_cannot_be_written_does_not_quote_the_value() -> None:
    with pytest.raises(UnencodableRecordError) as raised:
        CODEC.encode(OFFERED._replace(stage="a person's name"))

    assert "person" not in str(raised.value)


def test_a_failed_write_leaves_the_codec_usable() -> None:
    with pytest.raises(UnencodableRecordError):
        CODEC.encode(CONTROL._replace(kind="x"))

    assert CODEC.decode(CODEC.encode(CONTROL)) == Decoded(CONTROL)


def test_a_record_without_a_schema_raises_with_the_known_names() -> None:
    with pytest.raises(UnknownRecordNameError, match="VacancyEvent"):
        CODEC.encode(Check("identity", "passed"))


class ControlHead(NamedTuple):
    event_id: str
    event_time: int


HEAD_OF = CODEC.head_decoder(Control, ControlHead)


def test_the_first_fields_of_a_record_can_be_read_alone() -> None:
    assert HEAD_OF(CODEC.encode(CONTROL)) == ControlHead("event-2", 1_767_225_600_000)


def test_the_first_fields_of_an_earlier_version_are_those_that_it_has_today() -> None:
    old, new = read_record(TICK_V1), read_record(TICK_V2)
    resolver = LocalResolver([RecordSchema(1, "Tick", 1, TICK_V1, old), RecordSchema(2, "Tick", 2, TICK_V2, new)])
    codec = Codec(resolver, {"Tick": NamedTick})

    assert codec.head_decoder(NamedTick, TickName)(b"\0\0\0\0\1\6") == TickName("none")
    assert codec.head_decoder(NamedTick, TickName)(codec.encode(NamedTick("x", 3))) == TickName("x")


@pytest.mark.parametrize("data", [b"", b"{}", b"\0\0\0\0\6", b"\0\0\0\0\7\6", CODEC.encode(CONTROL)[:12]])
def test_first_fields_that_cannot_be_read_raise_with_what_was_found(data: bytes) -> None:
    with pytest.raises(UnreadableHeadError, match="expected Control, found"):
        HEAD_OF(data)


class NamedTick(NamedTuple):
    name: str
    minute: int


NamedTick.__name__ = "Tick"


class TickName(NamedTuple):
    name: str


MINUTE = {"name": "minute", "type": "long"}
TICK_V1 = {"type": "record", "name": "Tick", "fields": [MINUTE]}
TICK_V2 = {"type": "record", "name": "Tick", "fields": [{"name": "name", "type": "string", "default": "none"}, MINUTE]}


class ShortTick(NamedTuple):
    second: int


@pytest.mark.parametrize("use", [lambda codec: codec.encode(Tick(1)), lambda codec: codec.decode(b"\0\0\0\0\x07\x02")])
def test_a_class_that_differs_from_its_schema_stops_at_first_use(use: Callable[[Codec], object]) -> None:
    codec = Codec(LocalResolver.load(), {"Tick": ShortTick})

    with pytest.raises(RecordClassMismatchError, match="second"):
        use(codec)
