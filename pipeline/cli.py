"""The command line: reads the settings once, wires the parts, turns errors into one sentence and an exit code.

Exit codes: 0 done, 1 done with findings (rejected lines, differences, unhealthy), 2 a mistake in the command or the
configuration, 3 something outside is not there now (try again).
"""

import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
from confluent_kafka import KafkaException

from pipeline.errors import PipelineError, TransientError
from pipeline.settings import Settings

EXIT_FINDINGS, EXIT_MISTAKE, EXIT_TRY_AGAIN = 1, 2, 3

app = typer.Typer(
    name="parityflow",
    help="Real-time recruitment-equality monitoring: exact counts from application to start.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="Kafka topics: create what is missing, or say what differs.", no_args_is_help=True)
worker_app = typer.Typer(help="Agents that count.", no_args_is_help=True)
report_app = typer.Typer(
    help="Exact figures for authorised use on the machine that owns the data.", no_args_is_help=True
)
dead_letters_app = typer.Typer(help="Records that could not be counted.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(worker_app, name="worker")
app.add_typer(report_app, name="report")
app.add_typer(dead_letters_app, name="dead-letters")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Local day, e.g. 2026-04-01.")]


def main() -> None:
    """Run the command line; a user's mistake is one sentence on stderr, never a traceback."""
    try:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
        app()
    except PipelineError as error:
        _fail(error)
    except KafkaException as error:
        print(f"parityflow: Kafka answered: {error.args[0].str()}; is it healthy? Try again", file=sys.stderr)
        raise SystemExit(EXIT_TRY_AGAIN) from None


def _fail(error: PipelineError) -> NoReturn:
    print(f"parityflow: {error}", file=sys.stderr)
    raise SystemExit(EXIT_TRY_AGAIN if isinstance(error, TransientError) else EXIT_MISTAKE)


def _settings(**changes: Any) -> Settings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except SettingsError as error:
        print(f'parityflow: {error}: expected JSON, e.g. {{"recruitment": "a long token"}}', file=sys.stderr)
        raise SystemExit(EXIT_MISTAKE) from None
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"parityflow: PARITYFLOW_{name}: {problem['msg']}, found {problem['input']!r}", file=sys.stderr)
        raise SystemExit(EXIT_MISTAKE) from None


@app.command()
def up(
    workers: Annotated[int, typer.Option(min=1, help="FUNNEL workers to run.")] = 1,
) -> None:
    """Run everything on this machine, supervised: broker, topics, workers, history."""
    from pipeline.supervision.supervise import run_up

    raise SystemExit(run_up(_settings(), workers))


@app.command()
def status(as_json: Json = False) -> None:
    """Print one line of state of what `up` runs; exit code 1 unless all of it is healthy."""
    from pipeline.supervision.up_status import format_status, is_healthy, read_status

    children = read_status(_settings().state_dir)
    if as_json:
        rows = [{"name": child.name, "state": str(child.state), "pid": child.pid} for child in children]
        print(json.dumps({"healthy": is_healthy(children), "children": rows}))
    else:
        print(format_status(children, time.time()))
    raise SystemExit(0 if is_healthy(children) else EXIT_FINDINGS)


@app.command()
def broker() -> None:
    """Run the embedded Kafka broker in the foreground."""
    from pipeline.embedded_kafka.broker import run_broker

    raise SystemExit(run_broker(_settings()))


@topics_app.command("apply")
def topics_apply() -> None:
    """Create missing topics and begin the first epoch; changes nothing that exists."""
    from pipeline.setup_topics import apply_all

    created = apply_all(_settings())
    print(f"created: {', '.join(created)}" if created else "all topics exist already")


@topics_app.command("check")
def topics_check() -> None:
    """Say what differs from what this version needs; exit code 1 if anything does."""
    from pipeline.setup_topics import check_all

    problems = check_all(_settings())
    print("\n".join(problems) or "all topics are as expected")
    raise SystemExit(EXIT_FINDINGS if problems else 0)


@worker_app.command("funnel")
def worker_funnel() -> None:
    """Run one FUNNEL worker: it counts the partitions that the group gives it."""
    from agents.app import run_worker
    from pipeline.reference import content_hashes

    raise SystemExit(run_worker(_settings(), content_hashes()))


@app.command()
def history() -> None:
    """Run the history process: archive, transitions, boards API."""
    from sinks.history import run_history

    raise SystemExit(run_history(_settings()))


@app.command()
def ingest(
    files: Annotated[list[str], typer.Argument(help="Canonical NDJSON files, or - for standard input.")],
    backfill: Annotated[bool, typer.Option(help="History of the past: bracket it with loading and caught_up.")] = False,
    again: Annotated[bool, typer.Option(help="Send files that went in before.")] = False,
    wait: Annotated[bool, typer.Option(help="Return when all of it is applied and in the history.")] = False,
) -> None:
    """Send recruitment events; a second run of the same files changes no count."""
    from pipeline.intake.ingest import ingest as send
    from pipeline.intake.progress import TerminalProgress

    settings = _settings()
    with TerminalProgress() as progress:
        ask = _ask_progress(settings) if wait else None
        report = send(files, settings, backfill=backfill, again=again, wait=ask, progress=progress)
    print("\n".join(report.lines()))
    raise SystemExit(report.exit_code)


def _ask_progress(settings: Settings) -> Callable[[], Mapping[int, Any]]:
    """Return the question how far history has archived, and stored what the agents applied."""
    from pipeline.intake.waiting import PartitionProgress
    from sinks.reader import open_history

    def ask() -> dict[int, PartitionProgress]:
        with open_history(settings) as reader:
            rows = reader.query("progress")
        found: dict[int, PartitionProgress] = {}
        for row in rows:
            applied = row["to_offset"] if row["is_current"] and row["to_offset"] is not None else -1
            known = found.get(row["partition"])
            if known is None or applied > known.applied:
                found[row["partition"]] = PartitionProgress(row["archived_to"] - 1, applied)
        return found

    return ask


@app.command()
def examples(folder: Annotated[Path, typer.Argument(help="Where the files go.")] = Path("examples")) -> None:
    """Write the two shipped real inputs as canonical NDJSON: Berkeley 1973, London doctors 2020-21."""
    from pipeline.examples import write_examples

    print("\n".join(str(path) for path in write_examples(folder)))


@app.command()
def simulate(
    seed: Annotated[int, typer.Option(help="The same seed gives the same records.")] = 1,
    organisations: Annotated[int, typer.Option(min=1, help="Employers.")] = 8,
    vacancies: Annotated[int, typer.Option(min=1, help="Adverts a year of all employers together.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days of history before today.")] = 365,
    disparity: Annotated[list[str] | None, typer.Option(help="Injected disparity; a wrong one says the form.")] = None,
    live: Annotated[bool, typer.Option(help="Go on live after the past.")] = False,
    rate: Annotated[float | None, typer.Option(help="Records a second of the live part.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End the live part after so long.")] = None,
    stdout: Annotated[bool, typer.Option(help="Write NDJSON instead of sending.")] = False,
    wait: Annotated[bool, typer.Option(help="Return when all of it is applied and in the history.")] = False,
) -> None:
    """Send simulated recruitment, clearly labelled: competing applicants, delays, duplicates, corrections."""
    from dataclasses import replace

    from pipeline.intake.progress import TerminalProgress
    from pipeline.intake.waiting import wait_until_applied
    from pipeline.reconcile.reconcile import kafka_input_ends
    from pipeline.simulation.plan import parse_disparity
    from pipeline.simulation.simulate import a_year_until, run_simulation
    from pipeline.topics import admin_client

    year = a_year_until(datetime.now(UTC), seed=seed)
    plan = replace(
        year,
        start=year.start + (365 - days) * 86_400_000,
        days=days,
        organisations=organisations,
        vacancies=vacancies,
        disparities=tuple(parse_disparity(text) for text in disparity or ()),
    )
    settings = _settings()
    with TerminalProgress() as progress:
        report = run_simulation(
            settings, plan, to_stdout=stdout, realtime=live, rate=rate, seconds=seconds, progress=progress
        )
    if wait and not stdout:
        ends = kafka_input_ends(admin_client(settings.bootstrap()), settings.partitions)
        targets = {partition: end - 1 for partition, end in ends.items()}
        wait_until_applied(targets, _ask_progress(settings), lambda _: None)
    print("\n".join(report.lines()), file=sys.stderr if stdout else sys.stdout)


@report_app.command("ratios")
def report_ratios(
    organisation: Annotated[str, typer.Option(help="Employer.")],
    step: Annotated[
        str, typer.Option(help="shortlisting, interview, ..., wres2, wdes2, or two stages: applied-offered.")
    ],
    characteristic: Annotated[str, typer.Option(help="ethnicity, disability, sex, ...")],
    reference: Annotated[str, typer.Option(help="Group to compare with: a code, a label, or a pooled group.")],
    group: Annotated[list[str] | None, typer.Option(help="Further group to show, e.g. BME.")] = None,
    form: Annotated[str | None, typer.Option(help="decision or return; the step's own when left out.")] = None,
    population: Annotated[str, typer.Option(help="all, core or bank.")] = "all",
    from_: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First local day.")] = None,
    to: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="First day after (exclusive).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare selection between groups, exactly: ratios both ways, intervals, tests, the ratio within vacancies."""
    from rich.console import Console

    from pipeline.domain.windows import date_to_day
    from pipeline.reference import code_lists
    from pipeline.report import ratios as reporting
    from pipeline.report.text import print_ratios
    from sinks.reader import open_history

    def day(moment: datetime | None) -> int | None:
        return None if moment is None else date_to_day(date(moment.year, moment.month, moment.day))

    lists = code_lists()
    with open_history(_settings()) as reader:
        found = reporting.report_ratios(
            reader,
            organisation=organisation,
            step=step,
            characteristic=characteristic,
            reference=reference,
            code_lists=lists,
            form=form,
            population=population,
            from_day=day(from_),
            to_day=day(to),
            groups=group or (),
        )
    if as_json:
        print(reporting.NOTICE, file=sys.stderr)
        print(json.dumps(found.to_json()))
    else:
        print_ratios(found, lists.label, Console(), Console(stderr=True))


@app.command()
def reconcile(
    timeout: Annotated[float, typer.Option(help="Seconds to wait for agents and history.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Recount everything from the archived input with independent code and compare; exit code 0 only if all agree.

    Where nothing runs, the pipeline is started for the check and stopped again.
    """
    from pipeline.supervision.running import pipeline_running

    settings = _settings()
    with pipeline_running(settings) as is_started:
        if is_started:
            print("nothing was running here: the pipeline runs for this check", file=sys.stderr)
        report = _compare(settings, timeout)
    print(json.dumps(report.to_json()) if as_json else report.to_text())
    raise SystemExit(0 if report.is_ok else EXIT_FINDINGS)


def _compare(settings: Settings, timeout: float) -> Any:
    from pipeline.codec import Codec, LocalResolver
    from pipeline.counting.epochs import current_epoch
    from pipeline.reconcile.reconcile import kafka_input_ends, kafka_output_ends, wait_until_applied
    from pipeline.reconcile.reconcile import reconcile as compare
    from pipeline.reconcile.state_log import agent_days, retired_before
    from pipeline.topics import admin_client
    from sinks.reader import open_history

    bootstrap, partitions = settings.bootstrap(), settings.partitions
    admin, codec = admin_client(bootstrap), Codec(LocalResolver.load())
    epoch = current_epoch(bootstrap, codec).epoch
    with open_history(settings) as reader:

        @functools.cache
        def kept_from() -> dict[str, int]:
            return retired_before(bootstrap, codec, epoch, partitions)

        return compare(
            reader,
            lambda: agent_days(bootstrap, codec, epoch, partitions),
            lambda: kafka_input_ends(admin, partitions),
            lambda ends: wait_until_applied(reader, ends, timeout, lambda: kafka_output_ends(admin, partitions)),
            codec,
            partitions=partitions,
            timezone=settings.timezone,
            agents_keep_from=lambda organisation: kept_from().get(organisation, -(2**31)),
        )


@app.command()
def rebuild() -> None:
    """Count everything anew from the archive into a new epoch; workers must be stopped, history must run."""
    from pipeline.counting.rebuild import rebuild as count_anew
    from pipeline.reference import content_hashes
    from sinks.reader import open_history

    settings = _settings()
    with open_history(settings) as reader:
        for line in count_anew(reader, settings, content_hashes()):
            print(line)


@dead_letters_app.command("list")
def dead_letters_list(as_json: Json = False) -> None:
    """Count the dead letters by reason."""
    from sinks.reader import open_history

    with open_history(_settings()) as reader:
        rows = reader.query("dead_letters_by_reason")
    if as_json:
        print(json.dumps(rows))
    else:
        print("\n".join(f"{row['reason']:<24}{row['records']:>10,}" for row in rows) or "no dead letters")


@dead_letters_app.command("replay")
def dead_letters_replay(
    reason: Annotated[str | None, typer.Option(help="Only those of this reason, e.g. too_late.")] = None,
) -> None:
    """Send the originals once more, after what was wrong has been mended; nothing is counted twice."""
    from pipeline.codec import Codec, LocalResolver
    from pipeline.intake.replay import replay
    from pipeline.intake.sender import EventSender
    from sinks.reader import open_history

    settings, codec = _settings(), Codec(LocalResolver.load())
    with open_history(settings) as reader:
        letters = reader.query("dead_letters", reason=reason, limit=1_000_000)
    sender = EventSender(settings.bootstrap(), settings.partitions, codec)
    print("\n".join(replay(letters, codec, sender).lines()))


@app.command()
def config() -> None:
    """Print the settings in force, secrets hidden."""
    for name, value in _settings().model_dump(mode="json").items():
        shown = dict.fromkeys(value, "hidden") if name == "boards_tokens" else value
        print(f"PARITYFLOW_{name.upper()}={shown}")


@app.command()
def demo(
    seconds: Annotated[float | None, typer.Option(help="End the live part after so long; else until Ctrl-C.")] = None,
) -> None:
    """Run real input through the whole pipeline, then a simulated ICB, and show where to look."""
    from pipeline.demo import run_demo

    raise SystemExit(run_demo(_settings(), seconds))


if __name__ == "__main__":
    main()
