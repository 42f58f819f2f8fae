"""``parityflow reconcile``: is every number that the agents and history hold the one that the input gives?

The input is fixed at its ends, and the agents and history have to have applied exactly that. Then everything is
counted again from history's archive by code that shares nothing with the agents (``recount``), and four things are
compared with it: the transitions in history, the day counts in the agents' state, the published window counts, and
the dead letters. Only ticks may arrive meanwhile: they change no count.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from pipeline.codec import Codec
from pipeline.domain.records import WHOLE_RECORD
from pipeline.errors import TransientError
from pipeline.reconcile.compare import (
    CellsAt,
    Comparison,
    compare_agents,
    compare_dead_letters,
    compare_history,
    compare_published,
)
from pipeline.reconcile.held import AgentDay, Archive, HistoryReader, read_held
from pipeline.reconcile.recount import recount, recount_as_of
from pipeline.topics import DEAD_LETTERS, EVENTS, STAGE_COUNTS, TRANSITIONS, log_bounds, partition_of

__all__ = [
    "AgentDay",
    "HistoryReader",
    "InputKeepsArrivingError",
    "NotAppliedError",
    "ReconcileReport",
    "kafka_input_ends",
    "kafka_output_ends",
    "reconcile",
    "wait_until_applied",
]

_ATTEMPTS: Final = 5
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What was compared, and what differs.

    Attributes:
        ends: Input offset per partition before which everything was compared.
        compared: Numbers compared, by where they were found: history, agents, published, dead letters.
        differences: How many differ.
        shown: The first of them in words.
        unchecked: What could not be compared and why, in words.
        seconds: How long it took.
    """

    ends: dict[int, int]
    compared: dict[str, int]
    differences: int
    shown: tuple[str, ...]
    unchecked: tuple[str, ...]
    seconds: float

    @property
    def is_ok(self) -> bool:
        """Whether everything that could be compared agrees."""
        return self.differences == 0

    def to_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "ok": self.is_ok,
            "ends": {str(partition): end for partition, end in sorted(self.ends.items())},
            "compared": self.compared,
            "differences": self.differences,
            "first_differences": list(self.shown),
            "unchecked": list(self.unchecked),
            "seconds": round(self.seconds, 3),
        }

    def to_text(self) -> str:
        """Return the report for a person."""
        numbers = ", ".join(f"{count} in {place}" for place, count in self.compared.items())
        verdict = "everything agrees" if self.is_ok else f"{self.differences} DIFFERENCES"
        lines = [f"{verdict}: compared {numbers} in {self.seconds:.1f} s", *self.shown]
        if self.differences > len(self.shown):
            lines.append(f"... and {self.differences - len(self.shown)} more")
        return "\n".join((*lines, *(f"not checked: {what}" for what in self.unchecked)))


class NotAppliedError(TransientError):
    """The agents or history did not reach the end of the input in time."""

    def __init__(self, topic: str, partition: int, end: int, found: str, seconds: float) -> None:
        self.topic = topic
        self.partition = partition
        super().__init__(
            f"{topic} partition {partition}: expected everything up to offset {end} within {seconds:.0f} s, "
            f"found {found}; are the workers and history running (parityflow status)?"
        )


class InputKeepsArrivingError(TransientError):
    """New input other than ticks arrived each time the numbers were read."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        super().__init__(
            f"new records arrived during each of {attempts} attempts: expected a moment in which only ticks arrive; "
            "pause intake and try again"
        )


def wait_until_applied(
    reader: HistoryReader,
    ends: Mapping[int, int],
    seconds: float,
    output_ends: Callable[[], Mapping[tuple[str, int], int]] | None = None,
) -> None:
    """Wait until the agents have applied and history has stored everything before some offsets.

    Args:
        reader: Answers history's queries.
        ends: Offset per input partition, one after the last record.
        seconds: How long to wait at most.
        output_ends: Gives the end of each output partition once the input is applied, so that dead letters and
            window counts are stored as well as transitions; see ``kafka_output_ends``.

    Raises:
        NotAppliedError: It took longer.
    """
    deadline = time.monotonic() + seconds
    while (behind := _behind(reader.query("progress"), ends)) is not None:
        if time.monotonic() > deadline:
            raise NotAppliedError(EVENTS, behind[0], ends[behind[0]], behind[1], seconds)
        time.sleep(_POLL_SECONDS)
    outputs = output_ends() if output_ends is not None else {}
    while (unread := _unread(reader.query("source_offsets") if outputs else (), outputs)) is not None:
        if time.monotonic() > deadline:
            topic, partition, next_offset = unread
            raise NotAppliedError(topic, partition, outputs[topic, partition], f"stored to {next_offset}", seconds)
        time.sleep(_POLL_SECONDS)


def kafka_input_ends(admin: AdminClient, partitions: int) -> dict[int, int]:
    """Return the offset after the last record of each input partition."""
    return {partition: end for partition, (_, end) in log_bounds(admin, EVENTS, partitions).items()}


def kafka_output_ends(admin: AdminClient, partitions: int) -> dict[tuple[str, int], int]:
    """Return the offset after the last record of each partition that the agents write to and history reads."""
    return {
        (topic, partition): end
        for topic in (TRANSITIONS, DEAD_LETTERS, STAGE_COUNTS)
        for partition, (start, end) in log_bounds(admin, topic, partitions).items()
        if start < end
    }


def reconcile(
    reader: HistoryReader,
    agent_days: Callable[[], Iterable[AgentDay]],
    input_ends: Callable[[], Mapping[int, int]],
    wait: Callable[[Mapping[int, int]], None],
    codec: Codec,
    *,
    partitions: int,
    timezone: str,
    agents_keep_from: Callable[[str], int] | None = None,
) -> ReconcileReport:
    """Compare everything that is held with everything that follows from the input.

    Args:
        reader: Answers history's queries and gives the archived input.
        agent_days: Reads the agents' day counts from their changelog as it is now.
        input_ends: Gives the offset after the last record of each input partition now.
        wait: Returns when all before the given offsets is applied and stored; see ``wait_until_applied``.
        codec: Reads the archived values.
        partitions: Partitions of the input topic.
        timezone: Zone whose local days are counted.
        agents_keep_from: Gives the first day that the agents still hold of an organisation; when left out, the
            first that is found.

    Returns:
        What was compared and what differs.

    Raises:
        NotAppliedError: The agents or history are too far behind.
        InputKeepsArrivingError: The input did not pause.
    """
    begun = time.monotonic()
    for _ in range(_ATTEMPTS):
        ends = dict(input_ends())
        wait(ends)
        held = read_held(reader, agent_days())
        later = dict(input_ends())
        wait(later)
        archive = Archive(reader.inputs(later), ends, codec)
        expected = recount(archive, codec, partitions=partitions, timezone=timezone, keep_contributions=False)
        if archive.has_only_ticks_after:
            break
    else:
        raise InputKeepsArrivingError(_ATTEMPTS)

    def as_of(cuts: Collection[tuple[str, int]]) -> CellsAt:
        return recount_as_of(reader.inputs(ends), codec, cuts, partitions=partitions, timezone=timezone)

    whole = {partition for partition in ends if archive.first.get(partition, 0) == 0}
    comparison = Comparison(lambda organisation: partition_of(organisation.encode(), partitions) in whole)
    for gap in archive.gaps:
        comparison.differ(gap)
    compare_history(comparison, expected, held)
    compare_agents(comparison, expected, held, agents_keep_from)
    compare_published(comparison, expected, held, as_of)
    compare_dead_letters(comparison, expected, held, {partition: ends[partition] for partition in whole})
    return ReconcileReport(
        ends=ends,
        compared=dict(comparison.compared),
        differences=comparison.differences,
        shown=tuple(comparison.shown),
        unchecked=(*archive.unarchived(), *comparison.unchecked),
        seconds=time.monotonic() - begun,
    )


def _behind(progress: Iterable[Mapping[str, Any]], ends: Mapping[int, int]) -> tuple[int, str] | None:
    """Return the first partition that is not at its end, and how far it is."""
    current = {row["partition"]: row for row in progress if row["is_current"]}
    for partition, end in sorted(ends.items()):
        if end == 0:
            continue
        row = current.get(partition)
        if row is None or row["to_offset"] is None:
            return partition, "nothing applied"
        applied = row["to_offset"] + 1 if row["to_index"] == WHOLE_RECORD else row["to_offset"]
        if applied < end or row["archived_to"] < end:
            return partition, f"applied to {applied}, archived to {row['archived_to']}"
    return None


def _unread(offsets: Iterable[Mapping[str, Any]], ends: Mapping[tuple[str, int], int]) -> tuple[str, int, int] | None:
    """Return the first output partition that history has not stored to its end, and how far it is."""
    stored = {(row["topic"], row["partition"]): row["next_offset"] for row in offsets}
    for (topic, partition), end in sorted(ends.items()):
        if stored.get((topic, partition), 0) < end:
            return topic, partition, stored.get((topic, partition), 0)
    return None
