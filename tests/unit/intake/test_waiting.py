"""Waiting ends when all is applied and stored, and gives up with the reason when nothing moves."""

from collections.abc import Mapping

import pytest

from pipeline.errors import TerminalError, TransientError
from pipeline.intake.waiting import AskProgress, Lag, NotAppliedError, PartitionProgress, wait_until_applied


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(targets: Mapping[int, int], ask: AskProgress, clock: Clock) -> list[int]:
    told: list[int] = []

    def tell(lags: list[Lag]) -> None:
        told.append(sum(lag.missing for lag in lags))

    wait_until_applied(targets, ask, tell, stall_seconds=10, clock=clock, sleep=clock.sleep)
    return told


def test_waiting_ends_when_archive_and_agent_are_both_there() -> None:
    steps = iter([{}, {0: PartitionProgress(9, 4)}, {0: PartitionProgress(9, 9), 1: PartitionProgress(3, 3)}])
    assert wait({0: 9, 1: 3}, lambda: next(steps), Clock()) == [14, 9, 0]


def test_nothing_to_wait_for_ends_at_once() -> None:
    assert wait({}, dict, Clock()) == [0]


def test_partition_that_does_not_move_is_named() -> None:
    with pytest.raises(NotAppliedError) as caught:
        wait({0: 9, 1: 3}, lambda: {0: PartitionProgress(9, 9), 1: PartitionProgress(3, 1)}, Clock())
    assert [lag.partition for lag in caught.value.lags] == [1]
    assert "partition 1" in str(caught.value)
    assert "parityflow status" in str(caught.value)


def test_slow_progress_is_progress() -> None:
    clock = Clock()
    wait({0: 100}, lambda: {0: PartitionProgress(100, int(clock.now // 5))}, clock)
    assert clock.now >= 500


def test_history_that_cannot_answer_is_asked_again_and_named_in_the_end() -> None:
    def ask() -> Mapping[int, PartitionProgress]:
        raise TransientError("history is restarting")

    with pytest.raises(NotAppliedError, match="history is restarting"):
        wait({0: 1}, ask, Clock())


def test_history_that_restarts_is_waited_for_but_one_that_never_answered_is_not() -> None:
    answers = iter([{0: PartitionProgress(0, 0)}, None, {0: PartitionProgress(1, 1)}])

    def ask() -> Mapping[int, PartitionProgress]:
        answer = next(answers)
        if answer is None:
            raise TerminalError("no history file")
        return answer

    assert wait({0: 1}, ask, Clock()) == [1, 1, 0]
    answers = iter([None])
    with pytest.raises(TerminalError, match="no history file"):
        wait({0: 1}, ask, Clock())
