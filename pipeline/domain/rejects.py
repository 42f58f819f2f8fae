"""Why a record is not counted: one closed vocabulary for dead letters, metrics and the runbook."""

from enum import StrEnum


class RejectReason(StrEnum):
    """Reason of a dead letter; the value is what is stored, shown and counted.

    The first group is found by the codec in the bytes, the second by the agent in the position, the third by the
    fold in the meaning, the last by intake or a worker in what surrounds the record.
    """

    EMPTY_VALUE = "empty_value"
    """No value at all: a tombstone, which no topic of ours uses for input."""
    WRONG_MAGIC = "wrong_magic"
    """The value does not begin with byte 0 and a schema id: not Confluent's wire format."""
    UNKNOWN_SCHEMA = "unknown_schema"
    """The schema id is known to no resolver, or its schema cannot be read as any of our records."""
    UNDECODABLE = "undecodable"
    """Truncated, an unknown enum or union index, a negative length, or text that is not UTF-8."""
    TRAILING_BYTES = "trailing_bytes"
    """Bytes follow the record: two records in one value, or another schema than the id says."""
    TOO_LARGE = "too_large"
    """The value is longer than any record may be."""

    MISSING_KEY = "missing_key"
    """The record has no key, so its organisation's order cannot be trusted."""
    KEY_MISMATCH = "key_mismatch"
    """The key is not the organisation that the record names."""
    WRONG_PARTITION = "wrong_partition"
    """The key belongs to another partition than the record was found in."""
    UNEXPECTED_RECORD = "unexpected_record"
    """A valid record of a type that this topic does not carry."""

    FUTURE_EVENT_TIME = "future_event_time"
    """The event time is more than a day after the broker appended the record."""
    IMPLAUSIBLE_EVENT_TIME = "implausible_event_time"
    """The event time lies on 1970-01-01 or before: a missing date that became zero."""
    TOO_LATE = "too_late"
    """The event is older than applications are kept: it would revive one that was closed."""
    FOLD_FAILED = "fold_failed"
    """The fold raised; the record was left out and its organisation flagged."""

    INVALID_LINE = "invalid_line"
    """A line of an import that could not be made into a record."""
    UNKNOWN_CONTENT = "unknown_content"
    """A control record names reference data that this worker does not have."""
