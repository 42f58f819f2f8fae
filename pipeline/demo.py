"""``parityflow demo``: real input through the whole pipeline, then a simulated ICB, and where to look."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from rich.console import Console

from pipeline.domain.steps import ARRIVALS
from pipeline.settings import Settings
from pipeline.supervision.private_files import make_private_folder
from pipeline.supervision.running import pipeline_running

_CENTURY_MS = 100 * 366 * 86_400_000
LIVE_RECORDS_A_SECOND = 20
"""Lively enough to watch, far from what the machine can take."""
SIMULATED_VACANCIES = 2_000
"""A year of one small ICB: some 120,000 records, a minute of work on two cores."""


def run_demo(settings: Settings, seconds: float | None) -> int:
    """Run the demonstration and return the exit code.

    Args:
        settings: state folder and ports; unset addresses mean an embedded broker.
        seconds: end the live part after so long; None runs until interrupted.
    """
    say = Console(highlight=False, soft_wrap=True).print
    _have_pseudonym_key(settings)
    with pipeline_running(settings):
        say("broker, topics, worker and history are running (embedded Kafka, no container)")
        say("\n[bold]1. Two real inputs, event by event[/bold]")
        folder = settings.state_dir / "examples"
        _run("examples", str(folder))
        files = sorted(str(path) for path in folder.glob("*.ndjson"))
        _run("ingest", *files, "--backfill", "--wait")
        boards = _Boards(settings)
        _show_berkeley(boards, say)
        _show_london(boards, say)
        say("\n[bold]2. A simulated ICB[/bold] (invented organisations SIM-..., a year of history, then live)")
        _run("simulate", "--vacancies", str(SIMULATED_VACANCIES), "--days", "365", "--wait")
        boards.show_waiting(say)
        _show_places(settings, boards.url, say)
        live = ["simulate", "--seed", "2", "--days", "1", "--live", "--rate", str(LIVE_RECORDS_A_SECOND)]
        say("\n[bold]3. Live[/bold]: new simulated events arrive now" + ("" if seconds else "; Ctrl-C ends the demo"))
        try:
            _run(*live, *(() if seconds is None else ("--seconds", str(seconds))))
        except KeyboardInterrupt:
            say("stopping")
        say("\n[bold]4. Recounted from the archived input with independent code[/bold]")
        return _run("reconcile", check=False)


def _have_pseudonym_key(settings: Settings) -> None:
    """Let every process of the demonstration replace personal ids, with a key of this folder unless one is set."""
    if settings.pseudonym_key is not None:
        return
    make_private_folder(settings.state_dir)
    file = settings.state_dir / "pseudonym.key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    os.environ["PARITYFLOW_PSEUDONYM_KEY_FILE"] = str(file.resolve())


class _Boards:
    """The boards API of the demonstration, read as a recruitment team would."""

    def __init__(self, settings: Settings) -> None:
        self.url = json.loads((settings.state_dir / "boards.json").read_text())["url"]
        self._token = json.loads((settings.state_dir / "tokens.json").read_text())["recruitment"]

    def rows(self, view: str, **parameters: str) -> list[dict[str, Any]]:
        """Return the rows of a view."""
        url = f"{self.url}/boards/{view}?{urlencode(parameters)}"
        request = Request(url, headers={"Authorization": f"Bearer {self._token}"})  # noqa: S310  our own http address
        with urlopen(request, timeout=60) as response:  # noqa: S310
            return list(json.load(response)["rows"])

    def funnel(self, organisation: str) -> str:
        """Return how many arrived at each stage, in a line."""
        arrived: dict[str, int] = {}
        whole = {"from": "0", "to": str(int(time.time() * 1000)), "bucket": str(_CENTURY_MS)}
        for row in self.rows("arrivals", organisation=organisation, **whole):
            arrived[row["stage"]] = arrived.get(row["stage"], 0) + row["people"]
        return "  ->  ".join(f"{stage} {arrived[stage]:,}" for stage in ARRIVALS if stage in arrived)

    def show_waiting(self, say: Any) -> None:
        """Print who waits where."""
        waiting: dict[str, list[str]] = {}
        for row in self.rows("funnel"):
            waiting.setdefault(row["organisation"], []).append(f"{row['stage']} {row['waiting']:,}")
        say("\nWho waits at which stage now (boards view `funnel`)")
        for organisation, stages in sorted(waiting.items()):
            say(f"  {organisation:<28}{', '.join(stages)}")


def _show_berkeley(boards: _Boards, say: Any) -> None:
    women = _ratio("BERKELEY-1973", "shortlisting", "sex", "men", "women")
    crude, within = women["impact_ratio"], women["mantel_haenszel_ratio"]
    say(
        "\nBerkeley 1973: 4,526 applications, departments as vacancies, admitted = shortlisted\n"
        f"  {boards.funnel('BERKELEY-1973')}\n"
        f"  women / men, all departments together (crude): [bold]{crude:.4f}[/bold]\n"
        f"  women / men, each department within itself (Mantel-Haenszel): [bold]{within:.4f}[/bold]\n"
        "  They differ because women applied more to departments that admit few of anybody. The crude ratio fails the\n"
        "  four-fifths rule; within departments, where the choice was made, women did not fare worse."
    )


def _show_london(boards: _Boards, say: Any) -> None:
    organisation, groups = "LONDON-12-MEDICAL-2020-21", ("ethnicity", "White", "Black")
    overall = _ratio(organisation, "applied-offered", *groups)
    steps = [_ratio(organisation, step, *groups) for step in ("applied-shortlisted", "shortlisted-offered")]
    factors = " x ".join(f"{row['inverse_ratio']:.2f}" for row in steps)
    say(
        "\nMedical appointments of twelve London trusts, 2020-21: White versus Black applicants\n"
        f"  {boards.funnel(organisation)}\n"
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


def _show_places(settings: Settings, boards: str, say: Any) -> None:
    say(
        "\nWhere to look\n"
        f"  {boards}/boards/funnel   arrivals   step_rates   vacancies   pipeline_health\n"
        f"    (with `Authorization: Bearer <token>`; tokens by audience: {settings.state_dir}/tokens.json)\n"
        f"  {boards}/readyz   {boards}/metrics\n"
        "  parityflow status            one line of state\n"
        f"  {settings.state_dir}/logs/   what each process says"
    )


def _run(*arguments: str, check: bool = True) -> int:
    return subprocess.run(_command(*arguments), check=check).returncode  # noqa: S603  our own program


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", *arguments]
