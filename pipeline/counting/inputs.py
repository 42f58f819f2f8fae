"""Input records from bytes: what a record of the input log says, or why it cannot be counted where it is."""

from typing import NamedTuple

from pipeline.codec import Codec, Rejected
from pipeline.domain.fold.partition import InputRecord
from pipeline.domain.records import Tick
from pipeline.domain.rejects import RejectReason
from pipeline.topics import MAX_INPUT_BYTES, partition_of


class RawInput(NamedTuple):
    """A record of the input log as the broker gave it."""

    offset: int
    appended_at: int
    key: bytes | None
    value: bytes | None


class InputReader:
    """Reads the records of one partition."""

    def __init__(self, codec: Codec, partition: int, partitions: int) -> None:
        self._codec = codec
        self._partition = partition
        self._partitions = partitions
        self._own_keys: dict[str, bytes] = {}

    def read(self, raw: RawInput) -> InputRecord:
        """Return what the record says; everything that is wrong with it is a rejection, never an exception."""
        value = raw.value
        if value is not None and len(value) > MAX_INPUT_BYTES:
            return self._reject(raw, RejectReason.TOO_LARGE, f"{len(value)} bytes, at most {MAX_INPUT_BYTES}")
        decoded = self._codec.decode(value)
        if isinstance(decoded, Rejected):
            return self._reject(raw, RejectReason(decoded.reason), decoded.detail)
        record = decoded.record
        organisation = getattr(record, "organisation", None)
        if organisation is None:
            if isinstance(record, Tick):
                return InputRecord(raw.offset, raw.appended_at, record)
            return self._reject(raw, RejectReason.UNEXPECTED_RECORD, f"{type(record).__name__} is no input record")
        if raw.key != self._own_keys.get(organisation):
            problem = self._key_problem(raw.key, organisation)
            if problem is not None:
                return self._reject(raw, *problem)
        return InputRecord(raw.offset, raw.appended_at, record)

    def _key_problem(self, key: bytes | None, organisation: str) -> tuple[RejectReason, str] | None:
        """Return what is wrong with a key, or remember it as one that belongs here."""
        if not key:
            return RejectReason.MISSING_KEY, "expected the organisation as key, found none"
        if key != organisation.encode():
            return RejectReason.KEY_MISMATCH, "the key is not the organisation that the record names"
        right = partition_of(key, self._partitions)
        if right != self._partition:
            return RejectReason.WRONG_PARTITION, f"found in partition {self._partition}, belongs to {right}"
        self._own_keys[organisation] = key
        return None

    @staticmethod
    def _reject(raw: RawInput, reason: RejectReason, detail: str) -> InputRecord:
        return InputRecord(raw.offset, raw.appended_at, None, reason, detail)
