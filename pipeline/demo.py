"""``parityflow demo``: real input through the whole pipeline, then a simulated ICB, and where to look."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.errors import TransientError
from pipeline.settings import Settings
from pipeline.up_status import is_healthy, read_status

START_SECONDS = 120.0
STOP_SECONDS = 90.0
LIVE_RECORDS_A_SECOND = 20
"""Lively enough to watch, far from what the machine can take."""
SIMULATED_VACANCIES = 2_000
"""A year of one small ICB: some 120,000 records, a minute of work on two cores."""


class DemoNotReadyError(TransientError):
    """The pipeline did not come up in time."""

    def __init__(self, log_dir: Path) -> None:
        super().__init__(
            f"the pipeline was not ready within {START_SECONDS:.0f} s; the reason is in the logs in {log_dir}. "
            "Is another demo running in this folder (parityflow status)?"
        )


def run_demo(settings: Settings, seconds: float | None) -> int:
    """Run the demonstration and return the exit code.

    Args:
        settings: state folder and ports; unset addresses mean an embedded broker.
        seconds: end the live part after so long; None runs until interrupted.
    """
    say = Console(highlight=False).print
    with _pipeline(settings, say):
        say("\n[bold]1. Two real inputs, event by event[/bold]")
        folder = settings.state_dir / "examples"
        _run("examples", str(folder))
        files = sorted(str(path) for path in folder.glob("*.ndjson"))
        _run("ingest", *files, "--backfill", "--wait")
        _show_berkeley(say)
        _show_london(say)
        say("\n[bold]2. A simulated ICB[/bold] (invented organisations SIM-..., a year of history, then live)")
        _run("simulate", "--vacancies", str(SIMULATED_VACANCIES), "--days", "365")
        _show_places(settings, say)
        live = ["simulate", "--seed", "2", "--days", "1", "--live", "--rate", str(LIVE_RECORDS_A_SECOND)]
        say("\n[bold]3. Live[/bold]: new simulated events arrive now" + ("" if seconds else "; Ctrl-C ends the demo"))
        try:
            _run(*live, *(() if seconds is None else ("--seconds", str(seconds))))
        except KeyboardInterrupt:
            say("stopping")
        say("\n[bold]4. Recounted from the archived input with independent code[/bold]")
        return _run("reconcile", check=False)


@contextmanager
def _pipeline(settings: Settings, say: Any) -> Iterator[None]:
    """Run ``parityflow up`` around the demonstration."""
    process = subprocess.Popen(_command("up"), stdout=subprocess.DEVNULL)  # noqa: S603  our own program
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_up(settings):
            if time.monotonic() > deadline or process.poll() is not None:
                raise DemoNotReadyError(settings.state_dir / "logs")
            time.sleep(0.5)
        say("broker, topics, worker and history are running (embedded Kafka, no container)")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def _is_up(settings: Settings) -> bool:
    children = read_status(settings.state_dir)
    return bool(children) and is_healthy(children) and (settings.state_dir / "history.sock").exists()


def _show_berkeley(say: Any) -> None:
    women = _ratio("BERKELEY-1973", "shortlisting", "sex", "men", "women")
    crude, within = women["impact_ratio"], women["mantel_haenszel_ratio"]
    say(
        "\nBerkeley 1973: 4,526 applications, departments as vacancies, admitted = shortlisted\n"
        f"  women / men, all departments together (crude): [bold]{crude:.4f}[/bold]\n"
        f"  women / men, each department within itself (Mantel-Haenszel): [bold]{within:.4f}[/bold]\n"
        "  They differ because women applied more to departments that admit few of anybody. The crude ratio fails the\n"
        "  four-fifths rule; within departments there is nothing to find. Parityflow alerts on the second only."
    )


def _show_london(say: Any) -> None:
    organisation, groups = "LONDON-12-MEDICAL-2020-21", ("ethnicity", "White", "Black")
    overall = _ratio(organisation, "applied-offered", *groups)
    steps = [_ratio(organisation, step, *groups) for step in ("applied-shortlisted", "shortlisted-offered")]
    factors = " x ".join(f"{row['inverse_ratio']:.2f}" for row in steps)
    say(
        "\nMedical appointments of twelve London trusts, 2020-21: White versus Black applicants\n"
        f"  from application to offer [bold]{overall['inverse_ratio']:.2f}[/bold] times as likely = "
        f"{factors} (shortlisting x offer)\n"
        "  The yearly national figure sees the second factor only."
    )


def _ratio(organisation: str, step: str, characteristic: str, reference: str, group: str) -> Mapping[str, Any]:
    """Return one row of the exact report."""
    options = ["--organisation", organisation, "--step", step, "--characteristic", characteristic]
    command = _command("report", "ratios", *options, "--reference", reference, "--group", group, "--json")
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own program
    rows = json.loads(done.stdout)["rows"]
    wanted = {"women": "nhs_stated_gender:2"}.get(group, group)
    return next(row for row in rows if wanted in (row["group"], row["group"].rsplit(":", 1)[-1]))


def _show_places(settings: Settings, say: Any) -> None:
    boards = json.loads((settings.state_dir / "boards.json").read_text())["url"]
    token = json.loads((settings.state_dir / "tokens.json").read_text())["recruitment"]
    say(
        "\nWhere to look\n"
        f"  who is where in the funnel:  curl -H 'Authorization: Bearer {token}' '{boards}/boards/funnel'\n"
        f"  health:                      {boards}/readyz   {boards}/metrics\n"
        "  one line of state:           parityflow status",
        soft_wrap=True,
    )


def _run(*arguments: str, check: bool = True) -> int:
    return subprocess.run(_command(*arguments), check=check).returncode  # noqa: S603  our own program


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", *arguments]
