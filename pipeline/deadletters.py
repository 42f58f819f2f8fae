"""Dead letters: what could not be counted, kept where somebody can look at it and send it again.

The value holds the original up to 64 kB with its length and hash; the headers are Kafka Connect's, so that
its tools read them. Neither header nor detail may say anything about a person: reasons are constants, details
name fields and expectations, never what was found in them.
"""

import hashlib
from typing import Final, NamedTuple

from pipeline.codec import Codec
from pipeline.domain.records import DeadLetter

MAX_ORIGINAL = 64 * 1024
"""Bytes of the original that are kept: every record of ours fits; of something larger the beginning tells enough."""

MAX_DETAIL = 1_000
"""Characters of the detail; headers are sent with every record and are no place for texts."""

CONNECTOR: Final = "parityflow"

Headers = list[tuple[str, bytes]]


class DeadLetterMessage(NamedTuple):
    """What a producer sends to ``recruitment.dead-letters.v1``."""

    key: bytes | None
    value: bytes
    headers: Headers


def dead_letter(
    codec: Codec,
    *,
    topic: str,
    partition: int,
    offset: int,
    reason: str,
    detail: str,
    key: bytes | None,
    value: bytes | None,
    keep_original: bool = True,
) -> DeadLetterMessage:
    """Return the dead letter of one record.

    It is counted once by (topic, partition, offset), however often it is sent.

    Args:
        codec: encodes the ``DeadLetter``.
        topic: where the record was read; ``ingest:<SHA-256 of the file>`` for a line of a file.
        partition: its partition, 0 for a file.
        offset: its offset; the line number, from 1, for a file.
        reason: one of ``RejectReason``.
        detail: field and expectation; no value that was found.
        key: the original key, kept as the key of the dead letter.
        value: the original bytes; None if there were none.
        keep_original: False when the original may name a person: then only its length and hash are kept.

    Returns:
        Key, value and headers to send.
    """
    original = value or b""
    letter = DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        reason=str(reason),
        detail=detail[:MAX_DETAIL],
        length=len(original),
        sha256=hashlib.sha256(original).digest(),
        original=original[:MAX_ORIGINAL] if keep_original and value is not None else None,
    )
    headers = [
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.partition", str(partition).encode()),
        ("__connect.errors.offset", str(offset).encode()),
        ("__connect.errors.connector.name", CONNECTOR.encode()),
        ("__connect.errors.exception.class.name", letter.reason.encode()),
        ("__connect.errors.exception.message", letter.detail.encode("utf-8", "replace")),
    ]
    return DeadLetterMessage(key, codec.encode(letter), headers)
