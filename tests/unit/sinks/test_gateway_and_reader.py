"""Other commands read the history through its socket, or from the file, and get the same."""

import asyncio
import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import DeadLetter, StageCount, StageCounts
from pipeline.settings import Settings
from pipeline.topics import DEAD_LETTERS, EVENTS, STAGE_COUNTS, TRANSITIONS
from sinks.archive import ArchivedInput
from sinks.errors import HistoryAnswerError, HistoryMissingError, HistoryQueryError
from sinks.gateway import Gateway, socket_file
from sinks.reader import FileReader, HistoryReader, SocketReader, open_history


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


async def ask(seeded: Any, settings: Settings, question: Callable[[HistoryReader], Any]) -> Any:
    """Ask over the socket of a running history, then of the file, and compare."""
    with ThreadPoolExecutor(4) as executor:
        server = await Gateway(seeded.database.cursor, executor).open(socket_file(settings))
        async with server:
            reader = await asyncio.to_thread(open_history, settings)
            assert isinstance(reader, SocketReader)
            with reader:
                over_socket = await asyncio.to_thread(question, reader)
    seeded.database.close()
    with open_history(settings) as direct:
        assert isinstance(direct, FileReader)
        assert question(direct) == over_socket
    return over_socket


async def test_the_archive_comes_back_in_order_and_as_it_was(seeded: Any, settings: Settings) -> None:
    vacancy = seeded.rows("SELECT value FROM inputs")[0][0]
    seeded.put(EVENTS, b"poison\xff", None, b"", *[f"record {n}".encode() for n in range(3000)])
    records = await ask(seeded, settings, lambda reader: list(reader.inputs()))
    assert records[:4] == [
        ArchivedInput(0, 0, 1_700_000_000_000, b"RX1", vacancy),
        ArchivedInput(0, 1, 1_700_000_000_000, b"RX1", b"poison\xff"),
        ArchivedInput(0, 2, 1_700_000_000_000, b"RX1", None),
        ArchivedInput(0, 3, 1_700_000_000_000, b"RX1", b""),
    ]
    assert [record.offset for record in records] == list(range(3004))


async def test_the_archive_ends_where_it_is_told_to(seeded: Any, settings: Settings) -> None:
    seeded.put(EVENTS, *[b"x"] * 10)
    assert len(await ask(seeded, settings, lambda reader: list(reader.inputs({0: 5})))) == 5


async def test_progress_says_what_is_archived_and_applied(seeded: Any, settings: Settings) -> None:
    (row,) = await ask(seeded, settings, lambda reader: reader.query("progress"))
    assert row | {"committed_ms": 0} == {
        "partition": 0,
        "archived_from": 0,
        "archived_to": 1,
        "epoch": 1,
        "is_current": True,
        "to_offset": 9,
        "to_index": 2**31 - 1,
        "appended_at": 1_700_000_000_000,
        "committed_ms": 0,
    }


async def test_outcomes_of_a_step_by_group_are_sums_of_signs(seeded: Any, settings: Settings) -> None:
    rows = await ask(
        seeded,
        settings,
        lambda reader: reader.query("step_outcomes", organisation="RX1", step="interview", characteristic="sex"),
    )
    assert [(row["vacancy_id"], row["group"], row["outcome"], row["people"]) for row in rows] == [
        ("v1", "nhs_stated_gender:2", "selected", 1),
        ("v1", "unknown:not_known", "not_selected", 1),
    ]


async def test_a_period_includes_its_first_day_and_not_its_last(seeded: Any, settings: Settings) -> None:
    def arrivals(reader: HistoryReader) -> list[int]:
        asked = {"organisation": ["RX1"], "stage": "shortlisted"}
        periods = [(19_801, 19_802), (19_800, 19_801), (19_802, None), (None, None)]
        found = [reader.query("stage_arrivals", **asked, from_day=start, to_day=end) for start, end in periods]
        return [sum(row["people"] for row in rows) for rows in found]

    assert await ask(seeded, settings, arrivals) == [2, 0, 0, 2]


@pytest.mark.parametrize(
    ("engagement_and_route", "populations"),
    [
        (("substantive", "direct"), {"all", "core"}),
        ((None, None), {"all", "core"}),
        (("bank", "direct"), {"all", "bank"}),
        (("agency", None), {"all", "bank"}),
        (("substantive", "international"), {"all"}),
    ],
)
async def test_the_population_follows_engagement_and_route(
    history: Any, settings: Settings, build: Any, engagement_and_route: Any, populations: set[str]
) -> None:
    engagement, route = engagement_and_route
    history.put(EVENTS, build.vacancy("e1", "opened", engagement_type=engagement))
    arrival = build.transition(1, 0, build.arrival("applied"), route=route)
    history.put(TRANSITIONS, build.batch(-1, 1, [arrival]))

    def found(reader: HistoryReader) -> set[str]:
        asked = {"organisation": "RX1", "stage": "applied"}
        return {name for name in ("all", "core", "bank") if reader.query("stage_arrivals", **asked, population=name)}

    assert await ask(history, settings, found) == populations


async def test_day_cells_give_every_division_of_the_same_people(seeded: Any, settings: Settings) -> None:
    rows = await ask(seeded, settings, lambda reader: sorted(reader.query("day_cells"), key=str))
    applied = [row for row in rows if (row["kind"], row["name"]) == ("arrival", "applied")]
    totals: dict[Any, int] = {}
    for row in applied:
        totals[row["characteristic"]] = totals.get(row["characteristic"], 0) + row["people"]
    assert totals == dict.fromkeys([None, *CHARACTERISTICS], 3)
    assert {(row["group"], row["people"]) for row in applied if row["characteristic"] == "sex"} == {
        ("nhs_stated_gender:2", 1),
        ("unknown:not_known", 2),
    }
    assert all(row["group"] is None for row in applied if row["characteristic"] is None)


async def test_cells_that_add_up_to_nothing_are_left_out(history: Any, settings: Settings, build: Any) -> None:
    added = build.transition(1, 0, build.arrival("applied"))
    history.put(TRANSITIONS, build.batch(-1, 2, [added, added._replace(offset=2, sign=-1)]))
    assert await ask(history, settings, lambda reader: reader.query("day_cells")) == []


async def test_counts_that_outgrow_a_byte_are_right_in_every_query(
    history: Any, settings: Settings, build: Any
) -> None:
    """DuckDB 2.0.0 cut sums to the width of their terms in some plans."""
    people = 70_000
    contributions = (build.arrival("applied"), build.outcome("overall", "not_selected"))
    made = [build.transition(n, 0, *contributions, application=f"a{n}") for n in range(people)]
    history.put(TRANSITIONS, build.batch(-1, people, made))

    def sums(reader: HistoryReader) -> list[int]:
        step = reader.query("step_outcomes", organisation="RX1", step="overall", characteristic="age")
        stage = reader.query("stage_arrivals", organisation="RX1", stage="applied", population="core")
        cells = reader.query("day_cells")
        applications = reader.query("organisations")[0]["applications"]
        return [applications, *[row["people"] for row in (*step, *stage, *cells)]]

    assert await ask(history, settings, sums) == [people] * (3 + 20)


async def test_the_other_queries_answer(seeded: Any, settings: Settings) -> None:
    seeded.put(DEAD_LETTERS, DeadLetter(EVENTS, 0, 7, "undecodable", "why", 3, b"\1" * 32, b"\xff\xfe"))
    cell = StageCount("arrival", "applied", "", "sex", "nhs_stated_gender:2", 4)
    seeded.put(STAGE_COUNTS, StageCounts(1, "RX1", 7, 100, 107, 9, 0, [cell]))

    def others(reader: HistoryReader) -> list[Any]:
        names = ["dead_letters_by_reason", "organisations", "stage_counts", "stage_windows", "ignored", "epochs"]
        return [reader.query(name) for name in names]

    assert await ask(seeded, settings, others) == [
        [{"topic": EVENTS, "reason": "undecodable", "records": 1}],
        [{"organisation": "RX1", "applications": 3, "vacancies": 1}],
        [
            {"organisation": "RX1", "window_days": 7, "start_day": 100, "end_day": 107}
            | dict(zip(("kind", "name", "outcome", "characteristic", "group", "people"), cell, strict=True))
        ],
        [
            {
                "organisation": "RX1",
                "window_days": 7,
                "start_day": 100,
                "end_day": 107,
                "offset": 9,
                "idx": 0,
                "cells": 1,
            }
        ],
        [],
        [{"epoch": 1, "state": "current", "positions": "{}"}],
    ]


async def test_kept_bytes_of_dead_letters_and_attributes_of_vacancies_come_whole(
    seeded: Any, settings: Settings
) -> None:
    seeded.put(DEAD_LETTERS, DeadLetter(EVENTS, 0, 7, "undecodable", "why", 3, b"\1" * 32, b"\xff\xfe"))
    (letter,) = await ask(seeded, settings, lambda reader: reader.query("dead_letters", reason="undecodable"))
    assert (letter["offset"], letter["original"], letter["sha256"]) == (7, "//4=", "01" * 32)


async def test_wrong_questions_are_answered_with_what_was_expected(seeded: Any, settings: Settings) -> None:
    def refusals(reader: HistoryReader) -> list[str]:
        questions: list[tuple[str, dict[str, Any]]] = [
            ("nothing", {}),
            ("step_outcomes", {"organisation": "RX1"}),
            ("step_outcomes", {"organisation": "RX1", "step": "offer", "characteristic": "height"}),
            ("step_outcomes", {"organisation": "RX1", "step": "offer", "from_day": "soon"}),
            ("day_cells", {"organisation": 7}),
            ("day_cells", {"drop": "tables"}),
        ]
        said = []
        for name, params in questions:
            with pytest.raises((HistoryAnswerError, HistoryQueryError)) as refused:
                reader.query(name, **params)
            said.append(str(refused.value).rpartition(f"could not answer {name}: ")[2].partition("; known: ")[0])
        return said

    said = await ask(seeded, settings, refusals)
    assert said[0] == "there is no query 'nothing'"
    assert said[1].startswith("parameter step is missing: expected text (longlisting, shortlisting")
    assert said[2].startswith("parameter characteristic: expected one of ethnicity, disability")
    assert (
        said[3] == "parameter from_day: expected a whole number (first local day, days since 1970-01-01), found 'soon'"
    )
    assert "expected texts separated by commas" in said[4]
    assert said[5] == "unknown parameter drop of day_cells; accepted: organisation, from_day, to_day"


@pytest.mark.parametrize("line", [b"SELECT 1\n", b"[]\n", b'{"query": 1}\n', b'{"query": "progress", "params": 3}\n'])
async def test_a_request_that_is_no_request_is_answered(seeded: Any, settings: Settings, line: bytes) -> None:
    with ThreadPoolExecutor(1) as executor:
        async with await Gateway(seeded.database.cursor, executor).open(socket_file(settings)):
            reader, writer = await asyncio.open_unix_connection(socket_file(settings))
            writer.write(line)
            assert "expected one JSON line" in json.loads(await reader.readline())["error"]
            writer.close()
            await writer.wait_closed()


async def test_only_the_owner_may_open_the_socket(seeded: Any, settings: Settings) -> None:
    with ThreadPoolExecutor(1) as executor:
        async with await Gateway(seeded.database.cursor, executor).open(socket_file(settings)):
            assert stat.S_IMODE(socket_file(settings).stat().st_mode) == 0o600


async def test_a_folder_with_a_long_path_has_a_socket_too(seeded: Any, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / ("long" * 40))
    settings.state_dir.mkdir()
    with ThreadPoolExecutor(1) as executor:
        async with await Gateway(seeded.database.cursor, executor).open(socket_file(settings)):
            reader = await asyncio.to_thread(open_history, settings)
            rows = await asyncio.to_thread(reader.query, "organisations")
    assert rows == [{"organisation": "RX1", "applications": 3, "vacancies": 1}]


async def test_a_socket_that_a_killed_process_left_is_not_believed(seeded: Any, settings: Settings) -> None:
    with ThreadPoolExecutor(1) as executor:
        server = await Gateway(seeded.database.cursor, executor).open(socket_file(settings))
        server.close()
        await server.wait_closed()
    socket_file(settings).touch()
    seeded.database.close()
    with open_history(settings) as reader:
        assert isinstance(reader, FileReader)


def test_without_history_the_way_to_one_is_said(settings: Settings) -> None:
    with pytest.raises(HistoryMissingError, match="parityflow history"):
        open_history(settings)
