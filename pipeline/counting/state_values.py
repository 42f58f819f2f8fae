"""State values between bytes and the objects the fold works with; a key's first byte says which kind it is."""

from typing import Any

from pipeline.codec import Codec, Rejected
from pipeline.domain import counts, facts
from pipeline.domain.state import APPLICATION, DAY
from pipeline.errors import TerminalError


class UnreadableStateError(TerminalError):
    """A stored value was written by a newer version, or is damaged."""

    def __init__(self, key: bytes, reason: str, detail: str) -> None:
        self.kind = key[:1].decode(errors="replace")
        super().__init__(
            f"a state value of kind {self.kind!r} cannot be read ({reason}: {detail}). It was written by a newer "
            "version of this program or is damaged: start the version that wrote it, or run `parityflow rebuild`"
        )


def load_value(codec: Codec, key: bytes, data: bytes) -> Any:
    """Return the working object of a stored value.

    Raises:
        UnreadableStateError: no schema of this version reads it.
    """
    decoded = codec.decode(data)
    if isinstance(decoded, Rejected):
        raise UnreadableStateError(key, decoded.reason, decoded.detail)
    prefix = key[:1]
    if prefix == APPLICATION:
        return facts.from_state(decoded.record)
    if prefix == DAY:
        return counts.from_state(decoded.record)
    return decoded.record


def dump_value(codec: Codec, key: bytes, value: Any) -> bytes:
    """Return the stored form of a working object."""
    prefix = key[:1]
    if prefix == APPLICATION:
        value = facts.to_state(value)
    elif prefix == DAY:
        value = counts.to_state(value)
    return codec.encode(value)
