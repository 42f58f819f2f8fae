"""Boards over HTTP: who gets which view, what a wrong request is told, and what the views say."""

import asyncio
import csv
import io
import json
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.domain.records import DeadLetter, Ignored
from pipeline.domain.windows import LocalDays
from pipeline.settings import Settings
from pipeline.topics import DEAD_LETTERS, EVENTS, TRANSITIONS
from sinks.audiences import Audience, SharedTokenError, Tokens, UnknownAudienceError
from sinks.boards import Boards
from sinks.health import Condition
from sinks.metrics import HistoryMetrics
from sinks.statements import load_statements

VIEWS = {"funnel", "arrivals", "step_rates", "vacancies", "pipeline_health"}
RECRUITMENT = {"Authorization": "Bearer token-recruitment"}
OPERATIONS = {"Authorization": "Bearer token-operations"}
EQUALITY = {"Authorization": "Bearer token-equality"}
PERIOD = {"from": "2024-01-01", "to": "2024-06-01"}  # the seeded days 19800-19803 are 18 to 21 March 2024


class Client:
    """Asks one server with the tokens of every audience."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def get(self, path: str, status: int = 200, headers: Any = RECRUITMENT, **params: Any) -> Any:
        async with self._client.get(path, params=params, headers=headers) as response:
            assert response.status == status, await response.text()
            assert response.headers["Cache-Control"] == "no-store"
            return json.loads(await response.text())

    async def text(self, path: str, accept: str, headers: Any = RECRUITMENT, **params: Any) -> tuple[str, str]:
        async with self._client.get(path, params=params, headers=headers | {"Accept": accept}) as response:
            return response.content_type, await response.text()


@asynccontextmanager
async def serve(history: Any, statement_seconds: float = 10) -> AsyncIterator[Client]:
    with ThreadPoolExecutor(4) as executor:
        boards = Boards(
            cursor=history.database.cursor,
            executor=executor,
            tokens=Tokens({audience: f"token-{audience}" for audience in Audience}),
            health=history.health,
            metrics=HistoryMetrics.create(),
            days=LocalDays("Europe/London"),
            statement_seconds=statement_seconds,
        )
        async with TestClient(TestServer(boards.application())) as client:
            yield Client(client)


@pytest.fixture
async def client(seeded: Any) -> AsyncIterator[Client]:
    async with serve(seeded) as made:
        yield made


async def test_the_funnel_shows_who_waits_where(client: Client, seeded: Any) -> None:
    answer = await client.get("/boards/funnel", by="vacancy")
    assert {key: answer[key] for key in ("view", "period", "suppressed")} == {
        "view": "funnel",
        "period": None,
        "suppressed": 0,
    }
    assert answer["as_of"] == seeded.rows("SELECT max(committed_ms) FROM source_offsets")[0][0]
    assert answer["rows"] == [
        {
            "organisation": "RX1",
            "vacancy_id": "v1",
            "reference": "REF-1",
            "title": "Nurse",
            "stage": stage,
            "stage_order": order,
            "waiting": 1,
            "longest_since": day * 86_400_000 + 36_000_000,
        }
        for stage, order, day in (("applied", 1, 19_800), ("accepted", 6, 19_803))
    ]


async def test_the_funnel_forgets_whom_a_correction_took_back(client: Client, seeded: Any, build: Any) -> None:
    taken_back = build.transition(10, 0, build.arrival("applied"), application="a3", sign=-1)
    seeded.put(TRANSITIONS, build.batch(9, 10, [taken_back]))
    rows = (await client.get("/boards/funnel"))["rows"]
    assert [(row["stage"], row["waiting"]) for row in rows] == [("accepted", 1)]


async def test_arrivals_are_counted_per_bucket_and_stage(client: Client) -> None:
    answer = await client.get("/boards/arrivals", **PERIOD, bucket=str(86_400_000))
    assert answer["period"] == {"from": 1_704_067_200_000, "to": 1_717_196_400_000}
    assert [(row["time"] // 86_400_000, row["stage"], row["people"]) for row in answer["rows"]] == [
        (19_800, "applied", 3),
        (19_801, "shortlisted", 2),
        (19_802, "offered", 1),
        (19_803, "accepted", 1),
    ]
    assert (await client.get("/boards/arrivals"))["rows"] == []


async def test_step_rates_keep_withdrawals_outside_the_rate(client: Client, seeded: Any, build: Any) -> None:
    withdrew = build.transition(10, 0, build.outcome("interview", "withdrew"), application="a4")
    seeded.put(TRANSITIONS, build.batch(9, 10, [withdrew]))
    answer = await client.get(
        "/boards/step_rates", headers=EQUALITY, **PERIOD, organisation="RX1,RX2", step="interview"
    )
    assert answer["rows"] == [
        {
            "organisation": "RX1",
            "step": "interview",
            "selected": 1,
            "not_selected": 1,
            "withdrew": 1,
            "void": 0,
            "rate": 0.5,
        }
    ]


@pytest.mark.parametrize("audience", Audience)
async def test_step_rates_by_characteristic_are_closed_to_every_audience(client: Client, audience: Audience) -> None:
    headers = {"Authorization": f"Bearer token-{audience}"}
    refused = await client.get("/boards/step_rates", 403, headers, characteristic="ethnicity")
    allowed = audience in {Audience.RECRUITMENT, Audience.EQUALITY, Audience.EQUALITY_ANALYST}
    assert ("until disclosure rules are in force" in refused["error"]) is allowed


async def test_no_view_says_anything_by_characteristic(client: Client) -> None:
    for name, headers in [(name, RECRUITMENT) for name in VIEWS - {"pipeline_health"}] + [
        ("pipeline_health", OPERATIONS)
    ]:
        _, text = await client.text(f"/boards/{name}", "application/json", headers, **PERIOD)
        assert "nhs_stated_gender" not in text
        assert "unknown:" not in text


async def test_counts_that_outgrow_a_byte_are_right_in_every_view(history: Any, build: Any) -> None:
    people = 3_000
    waiting = [build.transition(n, 0, build.arrival("applied"), application=f"a{n}") for n in range(people)]
    selected = build.outcome("shortlisting", "selected")
    passed = [build.transition(n, 1, selected, application=f"a{n}") for n in range(people)]
    made = sorted(waiting + passed, key=lambda one: (one.offset, one.index))
    history.put(TRANSITIONS, build.batch(-1, people, made))
    async with serve(history) as client:
        found = [(await client.get(f"/boards/{view}", **PERIOD))["rows"][0] for view in VIEWS - {"pipeline_health"}]
    assert (
        sorted(row[name] for row in found for name in ("waiting", "people", "selected", "applications") if name in row)
        == [people] * 4
    )


async def test_vacancies_come_with_their_link_and_applications(client: Client) -> None:
    (row,) = (await client.get("/boards/vacancies", organisation="RX1", limit="5"))["rows"]
    assert {name: row[name] for name in ("reference", "title", "status", "applications", "ats_url")} == {
        "reference": "REF-1",
        "title": "Nurse",
        "status": "open",
        "applications": 3,
        "ats_url": "https://ats.example/v1",
    }


async def test_pipeline_health_says_how_far_and_how_fresh(client: Client, seeded: Any, build: Any) -> None:
    seeded.put(DEAD_LETTERS, DeadLetter(EVENTS, 0, 0, "undecodable", "why", 3, b"\1" * 32, None))
    seeded.put(EVENTS, *[b"x"] * 14)
    seeded.put(TRANSITIONS, build.batch(9, 12, ignored=[Ignored(10, 0, "repeated")]))
    rows = (await client.get("/boards/pipeline_health", headers=OPERATIONS))["rows"]
    measures = {(row["measure"], row["partition"], row["reason"]): row["value"] for row in rows}
    assert measures.pop(("committed_at", None, None)) > 1_700_000_000_000
    assert measures.pop(("file_bytes", None, None)) > 0
    assert measures == {
        ("archived_to", 0, None): 15,
        ("applied_to", 0, None): 13,
        ("behind", 0, None): 2,
        ("fresh_as_of", 0, None): 1_700_000_000_000,
        ("dead_letters", None, "undecodable"): 1,
        ("ignored", None, "repeated"): 1,
        ("epoch", None, "current"): 1,
    }


@pytest.mark.parametrize("view", sorted(VIEWS))
async def test_every_view_comes_as_csv_with_the_same_columns(client: Client, view: str) -> None:
    headers = OPERATIONS if view == "pipeline_health" else RECRUITMENT
    rows = (await client.get(f"/boards/{view}", headers=headers, **PERIOD))["rows"]
    content_type, text = await client.text(f"/boards/{view}", "text/csv", headers, **PERIOD)
    assert content_type == "text/csv"
    found = list(csv.DictReader(io.StringIO(text)))
    assert [list(row) for row in found] == [list(row) for row in rows]
    assert [list(row.values()) for row in found] == [
        ["" if value is None else str(value) for value in row.values()] for row in rows
    ]


def test_every_view_declares_audiences_that_exist() -> None:
    views = load_statements("views")
    assert set(views) == VIEWS
    assert all(view.audiences and view.audiences <= set(Audience) for view in views.values())


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic token-recruitment"}]
)
async def test_without_a_token_nothing_is_told(client: Client, headers: Any) -> None:
    for view in ("funnel", "no_such_view"):
        assert "Authorization: Bearer" in (await client.get(f"/boards/{view}", 401, headers))["error"]


async def test_an_unknown_view_is_told_which_there_are(client: Client) -> None:
    assert "funnel" in (await client.get("/boards/people", 404))["error"]


async def test_a_view_of_another_audience_is_refused(client: Client) -> None:
    refused = await client.get("/boards/pipeline_health", 403)
    assert refused["error"] == "view pipeline_health is for operations; this token is for recruitment"
    await client.get("/boards/funnel", 403, OPERATIONS)
    await client.get("/boards/vacancies", 403, EQUALITY)


@pytest.mark.parametrize(
    ("view", "params", "expected"),
    [
        ("arrivals", {"from": "soon"}, "parameter from: expected epoch milliseconds or a date such as 2024-04-01"),
        ("arrivals", {"from": "2024-02-02", "to": "2024-02-02"}, "expected from before to"),
        ("arrivals", {"to": "9" * 30}, "parameter to: expected epoch milliseconds"),
        ("arrivals", {"bucket": "0"}, "parameter bucket: expected a whole number above 0"),
        ("funnel", {"by": "person"}, "parameter by: expected one of organisation, vacancy"),
        (
            "funnel",
            {"organization": "RX1"},
            "unknown parameter organization of funnel; accepted: organisation, vacancy, by",
        ),
        ("step_rates", {"population": "everyone"}, "parameter population: expected one of all, core, bank"),
        ("vacancies", {"limit": "many"}, "parameter limit: expected a whole number above 0"),
    ],
)
async def test_a_bad_parameter_is_told_what_was_expected(client: Client, view: str, params: Any, expected: str) -> None:
    assert expected in (await client.get(f"/boards/{view}", 400, **params))["error"]


async def test_several_values_and_grafanas_times_are_understood(client: Client) -> None:
    answer = await client.get(
        "/boards/step_rates", **{"from": "1710720000000", "to": "1710979200000"}, organisation="RX1,RX9"
    )
    assert answer["period"] == {"from": 1_710_720_000_000, "to": 1_710_979_200_000}
    assert [row["step"] for row in answer["rows"]] == ["shortlisting", "interview", "overall"]


async def test_identical_requests_within_a_second_share_one_query(client: Client, seeded: Any, build: Any) -> None:
    first, second = await asyncio.gather(client.get("/boards/funnel"), client.get("/boards/funnel"))
    assert first == second
    seeded.put(TRANSITIONS, build.batch(9, 10, [build.transition(10, 0, build.arrival("applied"), application="a9")]))
    assert await client.get("/boards/funnel") == first
    await asyncio.sleep(1.05)
    assert await client.get("/boards/funnel") != first


async def test_a_view_that_takes_too_long_is_stopped(seeded: Any) -> None:
    seeded.rows(
        "INSERT INTO transitions SELECT t.* REPLACE ('a' || n AS application_id) FROM transitions t, range(50_000) r(n)"
    )
    async with serve(seeded, statement_seconds=0.01) as client:
        assert "was stopped" in (await client.get("/boards/funnel", 503))["error"]


async def test_ready_only_while_the_file_is_written(client: Client, seeded: Any) -> None:
    assert (await client.get("/readyz", headers={}))["ready"] is True
    seeded.health.become(Condition.NOT_WRITING, "no space left on device")
    refused = await client.get("/readyz", 503, headers={})
    assert (refused["condition"], refused["reason"]) == ("not_writing", "no space left on device")
    assert (await client.get("/livez", headers={}))["alive"] is True
    seeded.health.become(Condition.STOPPED)
    await client.get("/livez", 503, headers={})


async def test_metrics_are_for_operations_and_name_no_group(client: Client) -> None:
    await client.get("/boards/funnel")
    await client.get("/boards/nothing", 404)
    content_type, text = await client.text("/metrics", "text/plain", {})
    assert content_type == "text/plain"
    lines = text.splitlines()
    assert 'parityflow_board_view_seconds_count{view="funnel"} 1.0' in lines
    assert 'parityflow_board_view_errors_total{status="404"} 1.0' in lines
    assert all(line.startswith(("#", "parityflow_")) for line in lines)


def test_tokens_are_made_once_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    tokens = Tokens.load(settings)
    assert tokens.file == tmp_path / "tokens.json"
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600
    assert Tokens.load(settings) == tokens
    assert set(tokens.by_audience) == set(Audience)
    assert tokens.audience_of(tokens.by_audience[Audience.PUBLIC]) is Audience.PUBLIC


def test_configured_tokens_are_taken_as_they_are(tmp_path: Path) -> None:
    tokens = Tokens.load(Settings(state_dir=tmp_path, boards_tokens={"operations": "ops"}))
    assert (tokens.audience_of("ops"), tokens.audience_of(""), tokens.file) == (Audience.OPERATIONS, None, None)
    assert not (tmp_path / "tokens.json").exists()


@pytest.mark.parametrize(
    ("tokens", "error"),
    [
        ({"recruiters": "x"}, UnknownAudienceError),
        ({"public": "x", "equality": "x"}, SharedTokenError),
        ({"public": ""}, SharedTokenError),
    ],
)
def test_tokens_that_do_not_tell_audiences_apart_are_refused(
    tmp_path: Path, tokens: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="PARITYFLOW_BOARDS_TOKENS"):
        Tokens.load(Settings(state_dir=tmp_path, boards_tokens=tokens))
