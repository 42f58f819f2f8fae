"""Reconcile finds every kind of disagreement, says what it could not check, and refuses a moving input."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pipeline.domain.records import WHOLE_RECORD, Answer, ApplicationEvent, EqualityAnswers
from pipeline.reconcile.reconcile import (
    AgentDay,
    InputKeepsArrivingError,
    NotAppliedError,
    ReconcileReport,
    reconcile,
    wait_until_applied,
)
from pipeline.reconcile.recount import ArchivedInput, Cell, recount
from pipeline.topics import DEAD_LETTERS, EVENTS, partition_of
from tests.archive import PARTITIONS, InputLog

DAY_MS = 86_400_000
NOON = 19_000 * DAY_MS + DAY_MS // 2
ORGANISATION = "RXX"
HOME = partition_of(ORGANISATION.encode(), PARTITIONS)


def event(kind: str, day: int, app: str = "a1", organisation: str = ORGANISATION) -> ApplicationEvent:
    at = NOON + day * DAY_MS
    return ApplicationEvent(f"{app}-{kind}-{day}", kind, at, at, "test", organisation, app, "v1")


class Installation:
    """A log, and a history and agents that hold exactly what follows from it until a test spoils them."""

    def __init__(self, log: InputLog) -> None:
        self.log = log
        self.arriving: list[Any] = []
        self.archived = list(log.inputs)
        counted = recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")
        self.cells = dict(counted.cells)
        self.agents: dict[tuple[str, int], dict[Any, int]] = {}
        for cell, people in counted.cells.items():
            self.agents.setdefault((cell.organisation, cell.day), {})[cell[2:]] = people
        self.dead_letters = [
            {"topic": EVENTS, "partition": one.partition, "offset": one.offset, "reason": one.reason}
            for one in counted.rejected
        ]
        self.windows: dict[tuple[str, int], tuple[dict[str, Any], dict[Any, int]]] = {}

    def publish(self, days: int, end_day: int, offset: int | None = None) -> None:
        """Publish a window of what the log gives up to an offset."""
        inputs = [one for one in self.log.inputs if offset is None or one.offset <= offset]
        counted = recount(inputs, self.log.codec, partitions=PARTITIONS, timezone="Europe/London")
        cells: dict[Any, int] = {}
        for cell, people in counted.cells.items():
            if cell.organisation == ORGANISATION and end_day - days <= cell.day < end_day:
                cells[cell[2:]] = cells.get(cell[2:], 0) + people
        at = max(one.offset for one in inputs if one.partition == HOME)
        row = {"organisation": ORGANISATION, "window_days": days, "start_day": end_day - days, "end_day": end_day}
        self.windows[ORGANISATION, days] = ({**row, "offset": at, "idx": 0, "cells": len(cells)}, cells)

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        if name == "day_cells":
            return [{**cell._asdict(), "people": people} for cell, people in self.cells.items()]
        if name == "dead_letters":
            assert params["limit"] > 1_000_000
            return self.dead_letters
        if name == "stage_windows":
            return [row for row, _ in self.windows.values()]
        assert name == "stage_counts"
        keys = ("kind", "name", "outcome", "characteristic", "group", "people")
        return [
            {**row, **dict(zip(keys, (*key, people), strict=True))}
            for row, cells in self.windows.values()
            for key, people in cells.items()
        ]

    def inputs(self, until: Mapping[int, int] | None = None) -> Iterator[ArchivedInput]:
        ordered = sorted(self.archived, key=lambda one: (one.partition, one.offset))
        return (one for one in ordered if until is None or one.offset < until.get(one.partition, 0))

    def ends(self) -> dict[int, int]:
        found = dict.fromkeys(range(PARTITIONS), 0)
        for one in self.log.inputs:
            found[one.partition] = max(found[one.partition], one.offset + 1)
        for append in self.arriving[:1]:
            append()
            self.archived = self.log.inputs
        return found

    def agent_days(self) -> list[AgentDay]:
        return [AgentDay(organisation, day, cells) for (organisation, day), cells in self.agents.items()]

    def reconcile(self, **more: Any) -> ReconcileReport:
        return reconcile(
            self,
            self.agent_days,
            self.ends,
            lambda _: None,
            self.log.codec,
            partitions=PARTITIONS,
            timezone="Europe/London",
            **more,
        )


@pytest.fixture
def installation() -> Installation:
    log = InputLog(NOON + 20 * DAY_MS)
    log.add([event("applied", 0), event("shortlisted", 5), event("rejected", 9)])
    answers = [Answer("sex", "nhs_stated_gender", "1")]
    log.add([EqualityAnswers("q", NOON, ORGANISATION, "a1", "given", "application", answers)])
    log.raw(HOME, b"RXX", b"poison")
    log.add([event("applied", 1, "b1"), event("applied", 1, organisation="RYY")])
    made = Installation(log)
    made.publish(28, 19_020)
    return made


def test_everything_agrees_and_says_how_much_was_compared(installation: Installation) -> None:
    report = installation.reconcile()
    assert report.is_ok
    assert report.shown == ()
    assert report.compared == {
        "history": len(installation.cells),
        "agents": len(installation.cells),
        "published": len(installation.windows[ORGANISATION, 28][1]),
        "dead letters": 1,
    }
    assert report.unchecked == ("windows of 1 organisations: none is published yet",)
    assert report.to_json()["ok"] is True
    assert "everything agrees" in report.to_text()


def cell(day: int, name: str, outcome: str = "") -> Cell:
    return Cell(ORGANISATION, 19_000 + day, "outcome" if outcome else "arrival", name, outcome, None, None)


def test_a_wrong_net_transition_is_found_and_said_in_words(installation: Installation) -> None:
    installation.cells[cell(5, "shortlisting", "selected")] += 1
    report = installation.reconcile()
    assert report.shown == ("history: RXX 2022-01-13 outcome shortlisting selected: expected 1, found 2",)
    assert not report.is_ok


def test_a_missing_and_a_surplus_cell_are_found(installation: Installation) -> None:
    del installation.cells[cell(0, "applied")]
    installation.cells[cell(3, "applied")] = 4
    assert installation.reconcile().shown == (
        "history: RXX 2022-01-08 arrival applied: expected 1, found 0",
        "history: RXX 2022-01-11 arrival applied: expected 0, found 4",
    )


def test_a_wrong_day_count_of_the_agents_is_found(installation: Installation) -> None:
    installation.agents[ORGANISATION, 19_009][cell(9, "overall", "not_selected")[2:]] = 2
    assert installation.reconcile().shown == (
        "agents: RXX 2022-01-17 outcome overall not_selected: expected 1, found 2",
    )


def test_days_that_the_agents_no_longer_keep_are_said_and_not_compared(installation: Installation) -> None:
    del installation.agents[ORGANISATION, 19_000]
    assert not installation.reconcile(agents_keep_from=lambda _: 0).is_ok
    report = installation.reconcile(agents_keep_from=lambda _: 19_001)
    assert report.is_ok
    assert "1 days in the agents' state: older than what they keep" in report.unchecked


def test_a_wrong_published_window_is_found(installation: Installation) -> None:
    installation.windows[ORGANISATION, 28][1][cell(0, "applied")[2:]] = 7
    (words,) = installation.reconcile().shown
    assert words.startswith("published: RXX 28 days before 2022-01-28 (as of offset ")
    assert words.endswith(") arrival applied: expected 2, found 7")


def test_a_window_published_before_later_input_is_compared_as_of_then(installation: Installation) -> None:
    installation.publish(28, 19_020, offset=1)
    assert installation.reconcile().is_ok
    installation.windows[ORGANISATION, 28][1][cell(0, "applied")[2:]] = 7
    assert not installation.reconcile().is_ok


def test_dead_letters_must_agree_by_place_and_reason(installation: Installation) -> None:
    (letter,) = installation.dead_letters
    place = f"partition {HOME} offset {letter['offset']}"
    letter["reason"] = "too_late"
    assert installation.reconcile().shown == (f"dead letters: {place}: expected wrong_magic, found too_late",)
    installation.dead_letters.clear()
    assert installation.reconcile().shown == (f"dead letters: {place}: expected wrong_magic, found counted",)


def test_dead_letters_of_intake_and_of_later_input_are_not_compared(installation: Installation) -> None:
    other = {"partition": HOME, "offset": 0, "reason": "invalid_line"}
    installation.dead_letters += [{"topic": "file.ndjson", **other}, {"topic": EVENTS, **other, "offset": 999}]
    assert installation.reconcile().is_ok


def test_a_gap_in_the_archive_is_a_difference(installation: Installation) -> None:
    installation.archived = [one for one in installation.archived if (one.partition, one.offset) != (HOME, 3)]
    assert f"archive: partition {HOME}: expected offset 3 next, found 4" in installation.reconcile().shown


def test_a_partition_without_its_beginning_is_said_and_not_compared(installation: Installation) -> None:
    installation.archived = [one for one in installation.archived if (one.partition, one.offset) != (HOME, 0)]
    report = installation.reconcile()
    assert report.is_ok
    assert report.unchecked[0] == (
        f"organisations of partition {HOME}: the archive begins at offset 1, what came before is no longer kept"
    )


def test_ticks_may_arrive_meanwhile_and_nothing_else(installation: Installation) -> None:
    installation.arriving = [lambda: installation.log.tick(NOON + 21 * DAY_MS)]
    assert installation.reconcile().is_ok
    installation.arriving = [lambda: installation.log.add([event("applied", 2, "c1")])]
    with pytest.raises(InputKeepsArrivingError, match="pause intake"):
        installation.reconcile()


def test_only_the_first_twenty_differences_are_put_into_words(installation: Installation) -> None:
    installation.cells = {}
    report = installation.reconcile()
    assert report.differences > len(report.shown) == 20
    assert "... and" in report.to_text()
    assert len(report.to_json()["first_differences"]) == 20


class Progress:
    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self._answers = list(answers)

    def query(self, name: str, **_: Any) -> list[dict[str, Any]]:
        assert name == "progress"
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def inputs(self, until: Mapping[int, int] | None = None) -> Iterator[Any]:
        raise AssertionError(until)


def progress(to_offset: int | None, index: int | None = WHOLE_RECORD, archived: int = 5) -> list[dict[str, Any]]:
    return [
        {"partition": 0, "is_current": True, "to_offset": to_offset, "to_index": index, "archived_to": archived},
        {"partition": 0, "is_current": False, "to_offset": 999, "to_index": WHOLE_RECORD, "archived_to": 999},
    ]


def test_waiting_ends_when_the_last_record_is_applied_whole_and_archived() -> None:
    wait_until_applied(Progress([], progress(3), progress(4, 7), progress(4)), {0: 5, 1: 0}, 10)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "found nothing applied"),
        (progress(3), "found applied to 4, archived to 5"),
        (progress(4, 7), "found applied to 4, archived to 5"),
        (progress(4, archived=4), "found applied to 5, archived to 4"),
    ],
)
def test_waiting_too_long_says_where_it_stands(found: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(NotAppliedError, match=words):
        wait_until_applied(Progress(found), {0: 5}, 0)


def test_waiting_covers_the_outputs_too() -> None:
    class Stored(Progress):
        def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
            if name == "source_offsets":
                return [{"topic": DEAD_LETTERS, "partition": 0, "next_offset": 3}]
            return super().query(name, **params)

    wait_until_applied(Stored(progress(4)), {0: 5}, 0, lambda: {(DEAD_LETTERS, 0): 3})
    with pytest.raises(NotAppliedError, match="up to offset 4 within 0 s, found stored to 3"):
        wait_until_applied(Stored(progress(4)), {0: 5}, 0, lambda: {(DEAD_LETTERS, 0): 4})
