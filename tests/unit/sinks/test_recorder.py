"""What is recorded, once and completely, whatever is sent again."""

from itertools import pairwise
from typing import Any

import pytest

from pipeline.domain.records import (
    DeadLetter,
    Epoch,
    Ignored,
    StageCount,
    StageCounts,
    Tick,
)
from pipeline.topics import DEAD_LETTERS, EPOCHS, EVENTS, STAGE_COUNTS, TRANSITIONS
from sinks.errors import ForeignRecordError, MissingOutputsError


def transitions(build: Any) -> list[Any]:
    """Six transitions of four input records."""
    return [
        build.transition(1, 0, build.arrival("applied"), application="a1"),
        build.transition(1, 1, build.arrival("applied"), application="a2"),
        build.transition(
            2, 0, build.arrival("shortlisted"), build.outcome("shortlisting", "selected"), application="a1"
        ),
        build.transition(4, 0, build.arrival("applied"), application="a2", sign=-1),
        build.transition(4, 1, build.arrival("applied"), application="a2", groups=build.women),
        build.transition(5, 0, build.outcome("overall", "not_selected"), application="a2", groups=build.women),
    ]


def between(made: list[Any], start: tuple[int, int], end: tuple[int, int]) -> list[Any]:
    return [one for one in made if start < (one.offset, one.index) <= end]


@pytest.mark.parametrize(
    "cuts",
    [
        [(-1, 2**31 - 1), (5, 2**31 - 1)],
        [(-1, 2**31 - 1), (1, 0), (1, 1), (2, 2**31 - 1), (4, 0), (5, 2**31 - 1)],
        [(-1, 2**31 - 1), (4, 2**31 - 1), (5, 2**31 - 1)],
    ],
)
def test_transitions_cut_into_other_batches_give_the_same_rows(history: Any, build: Any, cuts: list[Any]) -> None:
    made = transitions(build)
    for start, end in pairwise(cuts):
        history.put(TRANSITIONS, build.batch(start, end, between(made, start, end)))
    assert len(history.rows("SELECT * FROM transitions")) == 7
    assert history.rows(
        "SELECT application_id, sum(sign) FROM transitions WHERE name = 'applied' GROUP BY ALL ORDER BY ALL"
    ) == [
        ("a1", 1),
        ("a2", 1),
    ]
    assert history.rows("SELECT to_offset, to_index FROM progress") == [(5, 2**31 - 1)]


def test_outputs_that_were_sent_again_in_other_batches_change_nothing(history: Any, build: Any) -> None:
    made = transitions(build)
    start = (-1, 2**31 - 1)
    history.put(TRANSITIONS, build.batch(start, (4, 0), between(made, start, (4, 0))))
    history.put(TRANSITIONS, build.batch(start, (2, 2**31 - 1), between(made, start, (2, 2**31 - 1))))
    history.put(TRANSITIONS, build.batch(start, (5, 2**31 - 1), made, ignored=[Ignored(3, 0, "repeated")]))
    before = history.everything()
    assert len(before[1]) == 7
    history.put(TRANSITIONS, build.batch(start, (5, 2**31 - 1), made, ignored=[Ignored(3, 0, "repeated")]))
    assert history.everything() == before


def test_ignored_records_are_counted_once_however_often_they_are_sent(history: Any, build: Any) -> None:
    history.put(TRANSITIONS, build.batch(-1, 3, ignored=[Ignored(1, 0, "repeated"), Ignored(3, 0, "erased")]))
    history.put(
        TRANSITIONS,
        build.batch(-1, 5, ignored=[Ignored(1, 0, "repeated"), Ignored(3, 0, "erased"), Ignored(4, 0, "repeated")]),
    )
    assert history.rows("SELECT reason, records FROM ignored ORDER BY ALL") == [("erased", 1), ("repeated", 2)]


def test_records_below_the_stored_offset_are_passed_over(history: Any, build: Any) -> None:
    records = [
        *history.logs.put(EVENTS, build.vacancy("e1"), b"poison", None, Tick(5)),
        *history.logs.put(TRANSITIONS, build.batch(-1, 5, transitions(build))),
    ]
    history.record(*records)
    before = history.everything()
    assert history.record(*records).records == 0
    history.restart()
    assert history.record(*records).records == 0
    assert history.everything() == before


def test_a_gap_between_batches_stops_and_names_the_rebuild(history: Any, build: Any) -> None:
    history.put(TRANSITIONS, build.batch(-1, 5, transitions(build)))
    with pytest.raises(MissingOutputsError, match=r"missing outputs .* offset 5 .* starts at 7 .*parityflow rebuild"):
        history.put(TRANSITIONS, build.batch(7, 8))
    assert history.rows("SELECT to_offset FROM progress") == [(5,)]


def test_an_epoch_must_begin_where_the_archive_does(history: Any, build: Any) -> None:
    with pytest.raises(MissingOutputsError):
        history.put(TRANSITIONS, build.batch(3, 8))


def test_an_empty_batch_moves_the_position(history: Any, build: Any) -> None:
    history.put(TRANSITIONS, build.batch(-1, 5))
    history.put(TRANSITIONS, build.batch(5, 9, appended_at=77))
    assert history.rows("SELECT to_offset, appended_at FROM progress") == [(9, 77)]


def test_every_input_is_archived_as_it_was(history: Any, build: Any) -> None:
    values = [build.codec.encode(build.vacancy("e1")), b"\x01not ours", b"", None, b"\x00\x00\x00\x00\x07"]
    history.put(EVENTS, *values)
    assert history.rows('SELECT "offset", key, value FROM inputs ORDER BY ALL') == [
        (offset, b"RX1", value) for offset, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("topic", "value", "found"),
    [
        (TRANSITIONS, b"\x01x", "wrong_magic"),
        (TRANSITIONS, None, "empty_value"),
        (TRANSITIONS, Tick(5), "Tick"),
        (STAGE_COUNTS, Tick(5), "Tick"),
        (DEAD_LETTERS, b"", "empty_value"),
        (EPOCHS, Tick(5), "Tick"),
    ],
)
def test_a_foreign_record_on_an_output_topic_stops_with_its_place(
    history: Any, topic: str, value: Any, found: str
) -> None:
    with pytest.raises(ForeignRecordError, match=f"{topic}, partition 0, offset .*{found}"):
        history.put(topic, value)


def test_a_batch_in_another_partition_is_foreign(history: Any, build: Any) -> None:
    with pytest.raises(ForeignRecordError, match="one of 3"):
        history.put(TRANSITIONS, build.batch(-1, 5, partition=3))


def dead_letter(offset: int, reason: str = "undecodable") -> DeadLetter:
    return DeadLetter(EVENTS, 0, offset, reason, "no", 3, b"\0" * 32, b"abc")


def test_a_dead_letter_counts_once_by_its_place(history: Any) -> None:
    history.put(DEAD_LETTERS, dead_letter(1), dead_letter(1), dead_letter(2))
    history.put(DEAD_LETTERS, dead_letter(2), dead_letter(3, "future_event_time"))
    assert history.rows('SELECT "offset", reason FROM dead_letters ORDER BY ALL') == [
        (1, "undecodable"),
        (2, "undecodable"),
        (3, "future_event_time"),
    ]


def stage_counts(offset: int, count: int, window: int = 7, epoch: int = 1) -> StageCounts:
    cell = StageCount("arrival", "applied", "", None, None, count)
    return StageCounts(epoch, "RX1", window, 100, 100 + window, offset, 0, [cell])


def test_stage_counts_are_the_newest_of_each_window(history: Any) -> None:
    history.put(STAGE_COUNTS, stage_counts(1, 5), stage_counts(1, 6, window=28), stage_counts(4, 7))
    history.put(STAGE_COUNTS, stage_counts(3, 6), stage_counts(4, 7), stage_counts(9, 8, window=28), None)
    assert history.rows(
        "SELECT window_days, \"offset\", counts[1]['count'] FROM stage_counts ORDER BY window_days"
    ) == [(7, 4, 7), (28, 9, 8)]


def test_a_vacancy_holds_the_last_write_of_each_attribute(history: Any, build: Any) -> None:
    history.put(
        EVENTS,
        build.vacancy("e2", "updated", 20, title="Second", afc_band="5"),
        build.vacancy("e1", "opened", 10, title="First", reference="R1", posts=2),
    )
    history.put(
        EVENTS, build.vacancy("e3", "updated", 20, title="Third"), build.vacancy("e0", "updated", 5, ats_url="u")
    )
    assert history.rows("SELECT title, afc_band, reference, posts, ats_url, status, opened_ms FROM vacancies") == [
        ("Third", "5", "R1", 2, "u", "open", 10)
    ]


@pytest.mark.parametrize(
    ("types", "status"),
    [
        (["opened"], "open"),
        (["opened", "closed"], "closed"),
        (["opened", "closed", "withdrawn"], "withdrawn"),
        (["opened", "withdrawn", "closed"], "withdrawn"),
        (["opened", "withdrawn", "reopened"], "open"),
        (["updated"], None),
    ],
)
def test_the_status_of_a_vacancy_follows_its_last_events(
    history: Any, build: Any, types: list[str], status: str
) -> None:
    events = [build.vacancy(f"e{time}", kind, time) for time, kind in enumerate(types)]
    history.put(EVENTS, *reversed(events))
    assert history.rows("SELECT status FROM vacancies") == [(status,)]


def test_a_vacancy_event_that_became_a_dead_letter_says_nothing(history: Any, build: Any) -> None:
    history.put(
        EVENTS,
        build.vacancy("e1", "opened", 10, title="Right"),
        build.vacancy("e2", "withdrawn", 32_503_680_000_000, title="Year 2999"),
    )
    assert history.rows("SELECT title FROM vacancies") == [("Year 2999",)]
    history.put(DEAD_LETTERS, dead_letter(1, "future_event_time"))
    assert history.rows("SELECT title, status FROM vacancies") == [("Right", "open")]


def test_a_new_epoch_is_read_when_it_has_reached_its_positions(history: Any, build: Any) -> None:
    applied = build.transition(1, 0, build.arrival("applied"))
    history.put(TRANSITIONS, build.batch(-1, 5, [applied]))
    history.put(STAGE_COUNTS, stage_counts(1, 5))
    history.put(TRANSITIONS, build.batch(-1, 2, [applied, applied._replace(index=1)], epoch=2))
    history.put(EPOCHS, Epoch(2, {"0": 5}))
    history.put(STAGE_COUNTS, stage_counts(1, 6, epoch=2))
    assert history.rows("SELECT DISTINCT epoch FROM current_transitions") == [(1,)]
    history.restart()
    history.put(TRANSITIONS, build.batch(2, 5, epoch=2))
    assert history.rows("SELECT epoch, count(*) FROM current_transitions GROUP BY epoch") == [(2, 2)]
    assert history.rows("SELECT DISTINCT epoch FROM transitions UNION SELECT epoch FROM stage_counts") == [(2,)]
    assert history.rows("SELECT epoch FROM progress") == [(2,)]


def test_outputs_of_a_past_epoch_are_dropped(history: Any, build: Any) -> None:
    history.put(EPOCHS, Epoch(3, {"0": -1}))
    assert history.rows("SELECT epoch, state FROM epochs") == [(3, "current")]
    batch = history.put(TRANSITIONS, build.batch(-1, 5, transitions(build), epoch=1))
    assert (batch.dropped, history.rows("SELECT * FROM transitions")) == (1, [])


def test_an_old_epoch_may_have_gaps_once_a_new_one_is_announced(history: Any, build: Any) -> None:
    history.put(TRANSITIONS, build.batch(-1, 5, transitions(build)))
    history.put(EPOCHS, Epoch(2, {"0": 8}))
    assert history.put(TRANSITIONS, build.batch(7, 8)).dropped == 1
    assert history.rows("SELECT to_offset FROM progress") == [(5,)]
