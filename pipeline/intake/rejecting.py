"""A rejected line as a dead letter: named by (hash of the file, line number), so that it counts once."""

import json
from contextlib import suppress

from pipeline.codec import Codec
from pipeline.deadletters import DeadLetterMessage, dead_letter
from pipeline.domain.rejects import RejectReason
from pipeline.intake.ndjson import Problem
from pipeline.intake.personal import may_hold_personal_data


def rejected_line(
    codec: Codec, sha256: str, number: int, raw: bytes, problem: Problem, *, keep_original: bool
) -> DeadLetterMessage:
    """Return the dead letter of a line.

    The line itself goes with it only if it is a JSON object without a field or text that looks personal: what
    is no JSON cannot be looked through, and the file still has it.

    Args:
        codec: encodes the dead letter.
        sha256: hash of the file.
        number: the line's number in it.
        raw: the line.
        problem: why it was rejected.
        keep_original: False where raw ids of persons must not leave intake (a pseudonym key is configured).
    """
    content = _object(raw)
    organisation = content.get("organisation") if content is not None else None
    may_keep = keep_original and content is not None and not problem.is_personal and not may_hold_personal_data(raw)
    return dead_letter(
        codec,
        topic=f"ingest:{sha256}",
        partition=0,
        offset=number,
        reason=RejectReason.INVALID_LINE,
        detail=problem.detail(),
        key=organisation.encode("utf-8", "replace") if isinstance(organisation, str) else None,
        value=raw,
        keep_original=may_keep,
    )


def _object(raw: bytes) -> dict[str, object] | None:
    with suppress(ValueError, RecursionError):
        content = json.loads(raw)
        if isinstance(content, dict):
            return content
    return None
