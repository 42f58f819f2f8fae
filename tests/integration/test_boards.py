"""Boards under load: many readers over HTTP while the history process writes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

SERVER = """
import asyncio, importlib.util, json, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from aiohttp import web
from pipeline.domain.records import Epoch
from pipeline.domain.windows import LocalDays
from sinks.audiences import Audience, Tokens
from sinks.boards import Boards
from sinks.metrics import HistoryMetrics

spec = importlib.util.spec_from_file_location("unit_sinks", sys.argv[1])
unit_sinks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(unit_sinks)
history, build = unit_sinks.History(Path(sys.argv[2])), unit_sinks.Build()
history.put("recruitment.epochs.v1", Epoch(1, {}))
commits = []

def write():
    offset = 0
    while not history.stop.wait(0.1):
        made = []
        for n in range(100):
            both = (build.arrival("applied"), build.outcome("overall", "selected"))
            made.append(build.transition(offset + n, 0, *both, application=f"a{offset + n}"))
        records = history.logs.put("recruitment.events.v1", *[build.vacancy(f"e{offset + n}") for n in range(100)])
        records += history.logs.put("recruitment.transitions.v1", build.batch(offset - 1, offset + 99, made))
        began = time.monotonic()
        history.record(*records)
        commits.append(time.monotonic() - began)
        offset += 100

async def serve():
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    boards = Boards(
        cursor=history.database.cursor,
        executor=ThreadPoolExecutor(8),
        tokens=Tokens({audience: str(audience) for audience in Audience}),
        health=history.health,
        metrics=HistoryMetrics.create(),
        days=LocalDays("Europe/London"),
    )
    runner = web.AppRunner(boards.application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    await stopped.wait()
    await runner.cleanup()

writing = threading.Thread(target=write)
writing.start()
asyncio.run(serve())
history.stop.set()
writing.join()
history.database.close()
print(json.dumps(sorted(commits)), flush=True)
"""

VIEWS = ("funnel", "arrivals", "step_rates", "vacancies", "pipeline_health")
REQUESTS = 1_000
READERS = 4
PAUSE_SECONDS = 0.05  # a 12-panel board for 20 viewers, refreshed every 5 s: 50 requests/s
SLOWEST_COMMIT_SECONDS = 1.5  # 0.2 on a quiet machine; a held lock would show as a whole view's time


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    helpers = Path(__file__).parents[1] / "unit" / "sinks" / "conftest.py"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(helpers), str(tmp_path / "history" / "history.duckdb")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        yield process
        if process.poll() is None:
            process.kill()


def assert_is_whole(view: str, rows: list[dict[str, Any]]) -> None:
    """A commit holds 100 people, each with arrival and outcome: half a commit would show in every view."""
    if view == "funnel":
        assert rows == []
    elif view == "pipeline_health":
        measures = {row["measure"]: row["value"] for row in rows}
        assert measures["archived_to"] == measures.get("applied_to", 0)
        assert measures["archived_to"] % 100 == 0
    else:
        counted = {"arrivals": "people", "step_rates": "selected", "vacancies": "applications"}[view]
        assert all(row[counted] % 100 == 0 for row in rows)


async def read(session: aiohttp.ClientSession, url: str, reader: int) -> int:
    """Ask for every view in turn, with a parameter that keeps the answer out of the cache."""
    most = 0
    for turn in range(REQUESTS // READERS):
        view = VIEWS[(reader + turn) % len(VIEWS)]
        audience = "operations" if view == "pipeline_health" else "recruitment"
        params = {"to": "1800000000000", "from": "0"}
        if view != "pipeline_health":
            params["organisation"] = f"RX1,{reader}-{turn}"
        async with session.get(
            f"{url}/boards/{view}", params=params, headers={"Authorization": f"Bearer {audience}"}
        ) as answer:
            assert answer.status == 200, await answer.text()
            rows = (await answer.json())["rows"]
        assert_is_whole(view, rows)
        await asyncio.sleep(PAUSE_SECONDS)
        if view == "arrivals":
            found = sum(row["people"] for row in rows)
            assert found >= most
            most = found
    return most


async def test_a_thousand_requests_while_writing_see_whole_commits_and_hold_nobody_up(
    server: subprocess.Popen[str],
) -> None:
    assert server.stdout is not None
    url = next(line.strip() for line in server.stdout if line.startswith("http"))
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:
        seen = await asyncio.gather(*(read(session, url, reader) for reader in range(READERS)))
    seconds = time.monotonic() - began
    server.send_signal(signal.SIGTERM)
    commits = json.loads(server.stdout.readlines()[-1])
    assert server.wait(30) == 0
    assert min(seen) > 0, "the readers saw nothing grow"
    assert len(commits) > seconds, "the writer hardly wrote while the readers read"
    assert commits[len(commits) // 2] < 0.2
    assert commits[-1] < SLOWEST_COMMIT_SECONDS, f"median {commits[len(commits) // 2]:.3f} s"
