"""``parityflow ingest``: canonical NDJSON files into the events topic, once.

1. Each file is hashed; one that went in completely before is skipped (the ledger). 2. The lines of all files
are merged by event time and sent; with ``backfill`` each organisation is bracketed by
   ``loading`` before its first record and ``caught_up`` after its last.
3. A line that is no record becomes a dead letter, counted once. 4. When the broker has everything, the files
enter the ledger. An import that breaks off is sent again from the start;
   events keep their ids, so nothing counts twice.
"""

import hashlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import Control
from pipeline.errors import TerminalError
from pipeline.intake.ledger import Ledger, LedgerEntry
from pipeline.intake.ndjson import Canonical, LineReader, Problem, time_of
from pipeline.intake.progress import Step
from pipeline.intake.pseudonym import pseudonyms_from
from pipeline.intake.rejecting import rejected_line
from pipeline.intake.report import PROBLEMS_SHOWN, FileProblem, FileReport, IngestReport
from pipeline.intake.selection import Selection, remove_spooled, select_files
from pipeline.intake.sender import Destination, EventSender
from pipeline.intake.sources import STDIN, FileTally, Line, SourceFile, lines_of, merged, require_readable
from pipeline.intake.waiting import STALL_SECONDS, AskProgress, Lag, wait_until_applied
from pipeline.settings import Settings
from pipeline.topics import admin_client, log_bounds

HOPELESS_LINES: Final = 100
"""So many lines rejected before the first accepted one: another kind of file, not one with mistakes."""

_STREAM: Final = Path(STDIN)
_TELL_SECONDS = 0.2
_TELL_EVERY = 512

Tell = Callable[[Step], None]


class NoCanonicalFileError(TerminalError):
    """A file holds something else than canonical records."""

    def __init__(self, name: str, first: Problem) -> None:
        self.name = name
        super().__init__(
            f"{name}: none of its first {HOPELESS_LINES} lines is a canonical record; {first}. Is it NDJSON, one JSON "
            'object a line with "record"? parityflow examples writes two files to compare with'
        )


@dataclass(slots=True)
class _Run:
    """The files of one import and what was met in them so far."""

    files: Sequence[SourceFile]
    tallies: list[FileTally]
    reader: LineReader
    sender: EventSender
    codec: Codec
    tell: Tell
    problems: list[FileProblem] = field(default_factory=list)
    last_times: dict[str, int] = field(default_factory=dict)
    is_interrupted: bool = False


def ingest(
    files: Sequence[Path | str],
    settings: Settings,
    *,
    backfill: bool = False,
    again: bool = False,
    wait: AskProgress | None = None,
    stall_seconds: float = STALL_SECONDS,
    progress: Tell | None = None,
    codec: Codec | None = None,
    to: Destination | None = None,
) -> IngestReport:
    """Send the records of files to the events topic.

    Args:
        files: paths, or ``-`` for standard input; alone and without ``backfill`` it is sent as it comes in.
        settings: broker, partitions, state folder, pseudonym key.
        backfill: bracket each organisation with ``loading`` and ``caught_up``.
        again: send files that went in before.
        wait: asks history how far it is; return only when all is applied and stored.
        stall_seconds: how long waiting bears that nothing moves.
        progress: told how far the work is.
        codec: encodes the records; the local schemas by default.
        to: the topics; the project's by default.

    Returns:
        What was sent, rejected and skipped. Its ``exit_code`` is 0 or 1 (130 after an interrupt).

    Raises:
        PipelineError: a file cannot be read, the broker cannot be reached, or waiting was in vain; only
        complete files
            are in the ledger then.
    """
    started = time.monotonic()
    names = list(dict.fromkeys(str(one) for one in files))
    require_readable(names)
    codec = codec or Codec(LocalResolver.load())
    tell = progress or (lambda _: None)
    secret = settings.pseudonym_key
    pseudonyms = pseudonyms_from(secret.get_secret_value() if secret is not None else None)
    sender = EventSender(settings.bootstrap(), settings.partitions, codec, to)
    ledger = Ledger(settings.state_dir)
    is_stream = names == [STDIN] and not backfill
    selection = (
        Selection((SourceFile("standard input", _STREAM, f"stdin-{uuid.uuid4().hex}", 0),))
        if is_stream
        else select_files(
            names,
            settings.state_dir,
            ledger,
            sender.topic_id,
            again=again,
            tell=lambda number, name: tell(Step("reading", number, len(names), name)),
        )
    )
    tallies = [FileTally() for _ in selection.files]
    run = _Run(selection.files, tallies, LineReader(pseudonyms), sender, codec, tell)
    try:
        _send(run, _lines(run), batch=_batch(run.files) if backfill else None, keep_originals=pseudonyms is None)
    except KeyboardInterrupt:
        run.is_interrupted = True
    finally:
        remove_spooled(run.files, settings.state_dir)
    sender.finish()
    sent_seconds = time.monotonic() - started
    if not (run.is_interrupted or is_stream):
        _enter(ledger, run, sender.topic_id, backfill=backfill)
    targets = _targets(run, selection, settings, to or Destination())
    is_waited_for = wait is not None and not run.is_interrupted
    if wait is not None and is_waited_for:
        wait_until_applied(targets, wait, lambda lags: tell(_waiting(lags)), stall_seconds=stall_seconds)
    return IngestReport(
        files=(*selection.skipped, *map(_file_report, run.files, run.tallies)),
        problems=tuple(run.problems),
        unknown_fields=dict(run.reader.unknown_fields),
        organisations=len(run.last_times),
        targets=targets,
        seconds=sent_seconds,
        is_backfill=backfill,
        is_applied=is_waited_for,
        is_interrupted=run.is_interrupted,
    )


def _lines(run: _Run) -> Iterator[Line]:
    if not run.files:
        return iter(())
    if run.files[0].path == _STREAM:
        return lines_of(sys.stdin.buffer, 0, run.reader, run.tallies[0])
    return merged(run.files, run.reader, run.tallies)


def _batch(files: Sequence[SourceFile]) -> str:
    """Return the identity of a backfill: the same files again are the same one."""
    return hashlib.sha256("".join(sorted(file.sha256 for file in files)).encode()).hexdigest()[:16]


def _send(run: _Run, lines: Iterator[Line], *, batch: str | None, keep_originals: bool) -> None:
    """Send every line; with ``batch`` bracket each organisation by control records of that identity."""
    send, last_times = run.sender.send, run.last_times
    told_at = time.monotonic()
    for count, line in enumerate(lines):
        if type(line.read) is Problem:
            _reject(run, line, line.read, keep_original=keep_originals)
            continue
        record = cast("Canonical", line.read)
        organisation, moment = record.organisation, time_of(record)
        last = last_times.get(organisation)
        if last is None:
            last_times[organisation] = moment
            if batch is not None:
                send(_control("loading", batch, organisation, moment))
        elif moment > last:
            last_times[organisation] = moment
        send(record)
        if not count % _TELL_EVERY and time.monotonic() - told_at > _TELL_SECONDS:
            told_at = time.monotonic()
            run.tell(_sending(run))
    if batch is not None:
        for organisation, moment in last_times.items():
            send(_control("caught_up", batch, organisation, moment))
    run.tell(_sending(run))


def _reject(run: _Run, line: Line, problem: Problem, *, keep_original: bool) -> None:
    file, tally = run.files[line.source], run.tallies[line.source]
    if len(run.problems) < PROBLEMS_SHOWN:
        run.problems.append(FileProblem(file.name, problem))
    run.sender.send_dead_letter(
        rejected_line(run.codec, file.sha256, line.number, line.raw, problem, keep_original=keep_original)
    )
    if tally.accepted == 0 and tally.rejected >= HOPELESS_LINES:
        run.sender.finish()
        first = next((one.problem for one in run.problems if one.file == file.name), problem)
        raise NoCanonicalFileError(file.name, first)


def _control(kind: str, batch: str, organisation: str, moment: int) -> Canonical:
    return Control(f"{kind}:{batch}:{organisation}", moment, organisation, kind)


def _enter(ledger: Ledger, run: _Run, topic_id: str, *, backfill: bool) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for file, tally in zip(run.files, run.tallies, strict=True):
        entry = LedgerEntry(
            sha256=file.sha256,
            topic_id=topic_id,
            name=file.name,
            lines=tally.lines,
            accepted=tally.accepted,
            rejected=tally.rejected,
            backfill=backfill,
            at=now,
        )
        ledger.add(entry)


def _targets(run: _Run, selection: Selection, settings: Settings, to: Destination) -> Mapping[int, int]:
    """Return the last offset of each partition that holds this import.

    Of a skipped file only the topic knows the place: all that is in it now covers it.
    """
    targets = dict(run.sender.delivered)
    if selection.skipped:
        bounds = log_bounds(admin_client(settings.bootstrap()), to.events, settings.partitions)
        targets |= {partition: end - 1 for partition, (_, end) in bounds.items() if end}
    return targets


def _file_report(file: SourceFile, tally: FileTally) -> FileReport:
    return FileReport(file.name, file.sha256, tally.lines, tally.accepted, tally.rejected, tally.backward)


def _sending(run: _Run) -> Step:
    sizes = [file.size for file in run.files]
    accepted = sum(tally.accepted for tally in run.tallies)
    rejected = sum(tally.rejected for tally in run.tallies)
    done = sum(tally.bytes_read for tally in run.tallies)
    return Step("sending", done, sum(sizes) if all(sizes) else 0, f"{accepted:,} accepted, {rejected:,} rejected")


def _waiting(lags: Sequence[Lag]) -> Step:
    missing = sum(lag.missing for lag in lags)
    return Step("waiting", 0, 0, f"{missing:,} records to apply; {lags[0]}" if lags else "all applied")
