"""The story of a first day: everything comes up, a real table goes in, exact figures come out, everything stops."""

import json
import os
import signal
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

COMMAND = [sys.executable, "-m", "pipeline.cli"]
START_SECONDS, STOP_SECONDS = 120, 90


class Installation:
    """An installation in a folder of its own, with an embedded broker and free ports."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {**os.environ, "PARITYFLOW_STATE_DIR": str(folder), "PARITYFLOW_BOARDS_PORT": "0"}
        self.env.pop("PARITYFLOW_BOOTSTRAP_SERVERS", None)
        self.up = subprocess.Popen([*COMMAND, "up"], env=self.env, stdout=subprocess.DEVNULL)

    def run(self, *arguments):
        return subprocess.run(
            [*COMMAND, *arguments], env=self.env, capture_output=True, text=True, timeout=180, check=False
        )

    def await_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while self.run("status").returncode != 0 or not (self.folder / "history.sock").exists():
            assert time.monotonic() < deadline, (self.folder / "logs").as_posix()
            time.sleep(1)

    def board(self, view, audience, **parameters):
        url = json.loads((self.folder / "boards.json").read_text())["url"]
        token = json.loads((self.folder / "tokens.json").read_text())[audience]
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        request = Request(f"{url}/boards/{view}?{query}", headers={"Authorization": f"Bearer {token}"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["rows"]

    def stop(self):
        self.up.send_signal(signal.SIGTERM)
        return self.up.wait(STOP_SECONDS)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    made = Installation(tmp_path_factory.mktemp("installation"))
    try:
        made.await_ready()
        assert made.run("examples", str(made.folder / "examples")).returncode == 0
        sent = made.run("ingest", str(made.folder / "examples" / "berkeley-1973.ndjson"), "--backfill", "--wait")
        assert sent.returncode == 0, sent.stderr
        yield made
    finally:
        if made.up.poll() is None:
            made.stop()


def test_berkeley_shows_the_crude_ratio_beside_the_one_within_departments(installation):
    options = ["--organisation", "BERKELEY-1973", "--step", "shortlisting", "--characteristic", "sex"]
    found = installation.run("report", "ratios", *options, "--reference", "men", "--json")
    assert found.returncode == 0, found.stderr
    assert "exact" in found.stderr
    women = {row["group"]: row for row in json.loads(found.stdout)["rows"]}["nhs_stated_gender:2"]
    assert (women["selected"], women["not_selected"]) == (557, 1278)
    assert women["impact_ratio"] == pytest.approx(0.6818, abs=5e-5)
    assert women["katz"] == pytest.approx([0.6287, 0.7395], abs=5e-5)
    assert women["mantel_haenszel_ratio"] == pytest.approx(1.058307, abs=5e-7)
    assert women["shortfall"] == pytest.approx(-15.357, abs=5e-4)


def test_recount_agrees_and_the_same_file_again_changes_nothing(installation):
    again = installation.run(
        "ingest", str(installation.folder / "examples" / "berkeley-1973.ndjson"), "--backfill", "--wait"
    )
    assert again.returncode == 0, again.stderr
    report = installation.run("reconcile", "--json")
    assert report.returncode == 0, report.stdout + report.stderr
    assert json.loads(report.stdout)["compared"]["history"] > 0


def test_board_shows_steps_without_characteristics_and_refuses_them_with(installation):
    period = {"from": "1970-01-01", "to": "2030-01-01"}
    rows = installation.board("step_rates", "recruitment", organisation="BERKELEY-1973", **period)
    shortlisting = next(row for row in rows if row["step"] == "shortlisting")
    assert (shortlisting["selected"], shortlisting["not_selected"]) == (1755, 2771)
    with pytest.raises(HTTPError, match="403"):
        installation.board("step_rates", "equality", characteristic="sex", **period)


def test_mistakes_are_answered_in_a_sentence(installation):
    wrong = installation.folder / "wrong.ndjson"
    wrong.write_text('{"record": "application_event", "event_type": "promoted"}\nnot json\n')
    answered = [
        installation.run("ingest", str(wrong)),
        installation.run("ingest", "no-such-file.ndjson"),
        installation.run(
            "report", "ratios", "--organisation", "X", "--step", "sift", "--characteristic", "sex", "--reference", "men"
        ),
    ]
    for answer in answered:
        assert answer.returncode in {1, 2}
        assert "Traceback" not in answer.stdout + answer.stderr
    assert "line 2" in answered[0].stdout


def test_everything_stops_and_leaves_no_process(installation):
    children = json.loads((installation.folder / "up.json").read_text())
    assert installation.stop() == 0
    assert "pid" in json.dumps(children)
    assert no_process_of(installation)


def test_reconcile_runs_what_it_needs_where_nothing_runs(installation):
    report = installation.run("reconcile")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "nothing was running" in report.stderr
    assert no_process_of(installation)


def no_process_of(installation):
    left = subprocess.run(["pgrep", "-f", str(installation.folder)], capture_output=True, text=True, check=False)
    return left.stdout.split() == []
