"""Dead letters keep what helps to mend a record and nothing that names a person."""

import hashlib

from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.deadletters import MAX_ORIGINAL, dead_letter
from pipeline.domain.records import DeadLetter

CODEC = Codec(LocalResolver.load())


def letter_of(value: bytes | None, *, keep_original: bool = True) -> tuple[DeadLetter, dict[str, bytes]]:
    message = dead_letter(
        CODEC,
        topic="recruitment.events.v1",
        partition=3,
        offset=17,
        reason="undecodable",
        detail="ApplicationEvent: EOFError",
        key=b"RXX",
        value=value,
        keep_original=keep_original,
    )
    assert message.key == b"RXX"
    decoded = CODEC.decode(message.value)
    assert isinstance(decoded, Decoded)
    return decoded.record, dict(message.headers)


def test_letter_says_where_the_record_was_and_why_it_was_refused() -> None:
    letter, headers = letter_of(b"\0garbage")
    assert (letter.topic, letter.partition, letter.offset) == ("recruitment.events.v1", 3, 17)
    assert letter.original == b"\0garbage"
    assert headers["__connect.errors.offset"] == b"17"
    assert headers["__connect.errors.exception.class.name"] == b"undecodable"


def test_original_is_cut_at_64_kb_but_length_and_hash_are_of_all_of_it() -> None:
    value = b"x" * 200_000
    letter, _ = letter_of(value)
    assert letter.original is not None
    assert len(letter.original) == MAX_ORIGINAL
    assert letter.length == 200_000
    assert letter.sha256 == hashlib.sha256(value).digest()


def test_original_that_may_name_a_person_is_left_out() -> None:
    letter, _ = letter_of(b'{"name": "somebody"}', keep_original=False)
    assert letter.original is None
    assert letter.length == 20


def test_missing_value_is_a_letter_of_length_zero() -> None:
    letter, _ = letter_of(None)
    assert letter.original is None
    assert letter.length == 0
