"""Where history reads on, and when it refuses because the topics are not what it has read."""

from typing import Any

import pytest

from pipeline.domain.records import Epoch
from pipeline.topics import DEAD_LETTERS, EVENTS, STAGE_COUNTS, TRANSITIONS
from sinks.epochs import Epochs
from sinks.errors import SourceTopicError
from sinks.plan import Known, SourceOffset
from sinks.sources import Topic, continue_from

READ = Known({(topic, 0): SourceOffset("id", 0, 50) for topic in (EVENTS, TRANSITIONS, STAGE_COUNTS, DEAD_LETTERS)})


def resume(known: Known, topic: str, start: int, end: int, identity: str = "id") -> SourceOffset:
    return continue_from(known, {topic: Topic(identity, {0: (start, end)})})[topic, 0]


def test_reading_goes_on_at_the_stored_offset() -> None:
    assert resume(READ, EVENTS, 10, 90) == SourceOffset("id", 0, 50)
    assert resume(READ, EVENTS, 50, 50) == SourceOffset("id", 0, 50)


def test_a_partition_is_first_read_from_the_start_of_its_log() -> None:
    assert resume(Known(), EVENTS, 7, 90) == SourceOffset("id", 7, 7)


@pytest.mark.parametrize(
    ("topic", "start", "end", "identity", "problem"),
    [
        (EVENTS, 0, 90, "other", "deleted and made again"),
        (EVENTS, 0, 49, "id", "ends at offset 49, but history has read up to 50"),
        (EVENTS, 51, 90, "id", "starts at offset 51.*PARITYFLOW_INPUT_RETENTION_DAYS"),
        (TRANSITIONS, 51, 90, "id", "starts at offset 51.*parityflow rebuild"),
    ],
)
def test_a_log_that_lost_something_is_refused_with_what_is_missing(
    topic: str, start: int, end: int, identity: Any, problem: str
) -> None:
    with pytest.raises(SourceTopicError, match=f"{topic}: .*{problem}"):
        resume(READ, topic, start, end, identity)


def test_outputs_that_expired_before_the_first_start_are_refused() -> None:
    with pytest.raises(SourceTopicError, match="outputs have expired"):
        resume(Known(), TRANSITIONS, 3, 90)


@pytest.mark.parametrize("topic", [STAGE_COUNTS, DEAD_LETTERS])
def test_what_compaction_and_retention_took_from_other_topics_is_passed_over(topic: str) -> None:
    assert resume(READ, topic, 60, 90) == SourceOffset("id", 0, 60)


def test_expired_outputs_do_not_matter_while_a_rebuild_is_announced() -> None:
    known = Known(READ.offsets, epochs=Epochs(current=1, announced=Epoch(2, {"0": 100})))
    assert resume(known, TRANSITIONS, 60, 90) == SourceOffset("id", 0, 60)
