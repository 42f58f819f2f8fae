"""``parityflow simulate``: the simulated health economy into Kafka or as NDJSON, at full speed or live.

The simulation itself is pure (``pipeline.simulation``); here are its edges: the clock, the pace, and where
records go.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO, Final

from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import Control
from pipeline.errors import TerminalError
from pipeline.intake.ndjson import Canonical, time_of, write_line
from pipeline.intake.progress import Step
from pipeline.intake.sender import Destination, EventSender, RecordSink
from pipeline.intake.times import format_ms
from pipeline.settings import Settings
from pipeline.simulation.live import SqueezedTime
from pipeline.simulation.plan import (
    DAY_MS,
    YEAR_DAYS,
    Disparity,
    DisparityTextError,
    SimulationSettings,
    parse_disparity,
)
from pipeline.simulation.stream import Delivery, deliveries, simulate

__all__ = [
    "Disparity",
    "DisparityTextError",
    "LineSink",
    "SimulationReport",
    "SimulationSettings",
    "a_year_until",
    "parse_disparity",
    "run_simulation",
    "simulate",
]

_TELL_EVERY: Final = 2_000
_NAP_SECONDS: Final = 0.1


class SimulatedFutureError(TerminalError):
    """The simulation would send events that have not happened yet."""

    def __init__(self, end: int, now: int) -> None:
        self.end = end
        super().__init__(
            f"the simulation ends at {format_ms(end)}, expected at most a day after now "
            f"({format_ms(now // 1000 * 1000)}): events further ahead are refused as future_event_time. Start it "
            "earlier, or make it shorter"
        )


class SimulatedStartError(TerminalError):
    """A live simulation must have begun."""

    def __init__(self, start: int) -> None:
        self.start = start
        super().__init__(
            f"a live simulation starts in the past (what lies before now is its backfill), found {format_ms(start)}"
        )


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """What was sent: before now, and live."""

    backfilled: int
    live: int
    organisations: int
    seconds: float
    is_interrupted: bool = False

    def lines(self) -> list[str]:
        """Return it in words."""
        total = self.backfilled + self.live
        rate = total / self.seconds if self.seconds else 0.0
        said = (
            f"{total:,} simulated records of {self.organisations} organisations in {self.seconds:.1f} s "
            f"({rate:,.0f} a second): {self.backfilled:,} of the past, {self.live:,} live"
        )
        return [said]


class LineSink:
    """Writes records as canonical NDJSON."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def send(self, record: Canonical) -> None:
        """Write one record."""
        self._stream.write(write_line(record))

    def poll(self) -> None:
        """Hand out what is written so far."""
        self._stream.flush()

    def finish(self) -> None:
        """Hand out what is written."""
        self._stream.flush()


@dataclass(slots=True)
class _Sent:
    """What has gone out so far, and of whom."""

    backfilled: int = 0
    live: int = 0
    is_interrupted: bool = False
    last_times: dict[str, int] = field(default_factory=dict)


def a_year_until(moment: datetime, *, seed: int = 1) -> SimulationSettings:
    """Return the default simulation: a year of an ICB that ends with the day before ``moment``.

    Example:
        >>> from datetime import UTC
        >>> format_ms(a_year_until(datetime(2026, 3, 1, 12, tzinfo=UTC)).start)
        '2025-03-01T00:00:00Z'
    """
    today = int(moment.timestamp() * 1000) // DAY_MS
    return SimulationSettings(seed=seed, start=(today - YEAR_DAYS) * DAY_MS)


def run_simulation(
    settings: Settings,
    simulation: SimulationSettings,
    *,
    to_stdout: bool = False,
    realtime: bool = False,
    rate: float | None = None,
    backfill: bool = True,
    seconds: float | None = None,
    progress: Callable[[Step], None] | None = None,
    sink: RecordSink | None = None,
    to: Destination | None = None,
) -> SimulationReport:
    """Send a simulation.

    Args:
        settings: broker and partitions.
        simulation: what is simulated. With ``realtime`` it goes on without end.
        to_stdout: write NDJSON instead of sending to Kafka.
        realtime: after what lies before now, go on live until interrupted.
        rate: records a second. Live: simulated time is squeezed so that they come steadily; None is simulated time
            itself, one second a second. Not live: a limit; None is full speed.
        backfill: bracket what lies before now with ``loading`` and ``caught_up``.
        seconds: end the live part after so long.
        progress: told how far it is.
        sink: where records go instead of Kafka or standard output.
        to: the topics; the project's by default.

    Returns:
        What was sent.

    Raises:
        SimulatedFutureError: a simulation that is not live ends after tomorrow.
        SimulatedStartError: a live one starts in the future.
        PipelineError: the broker cannot be reached, or does not accept.
    """
    now = int(time.time() * 1000)
    if realtime:
        if simulation.start > now:
            raise SimulatedStartError(simulation.start)
        simulation = replace(simulation, days=None)
    elif not to_stdout and simulation.end is not None and simulation.end > now + DAY_MS:
        raise SimulatedFutureError(simulation.end, now)
    started = time.monotonic()
    out = sink or (LineSink(sys.stdout.buffer) if to_stdout else _kafka(settings, to))
    tell = progress or (lambda _: None)
    sent = _Sent()
    stream = deliveries(simulation)
    try:
        first_live = _past(
            stream,
            out,
            simulation,
            sent,
            tell,
            until=now if realtime else None,
            rate=None if realtime else rate,
            backfill=backfill,
        )
        out.finish()
        if first_live is not None:
            _live(first_live, stream, out, sent, tell, rate=rate, seconds=seconds)
    except (KeyboardInterrupt, BrokenPipeError):  # whoever watched has seen enough
        sent.is_interrupted = True
    if to_stdout and sent.is_interrupted:
        _forget_stdout()
    else:
        out.finish()
    return SimulationReport(
        sent.backfilled, sent.live, len(sent.last_times), time.monotonic() - started, sent.is_interrupted
    )


def _forget_stdout() -> None:
    """Let nothing more be written to a reader that went away, not even when Python flushes at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _kafka(settings: Settings, to: Destination | None) -> EventSender:
    return EventSender(settings.bootstrap(), settings.partitions, Codec(LocalResolver.load()), to)


def _past(
    stream: Iterator[Delivery],
    out: RecordSink,
    simulation: SimulationSettings,
    sent: _Sent,
    tell: Callable[[Step], None],
    *,
    until: int | None,
    rate: float | None,
    backfill: bool,
) -> Delivery | None:
    """Send what was seen before ``until``; return the first delivery after it, if the stream goes on."""
    identity = f"simulation-{simulation.seed}-{simulation.start}"
    pace = _Pace(rate, out)
    last_times = sent.last_times
    first_live = None
    for at, record in stream:
        if until is not None and at >= until:
            first_live = Delivery(at, record)
            break
        organisation, moment = record.organisation, time_of(record)
        if organisation not in last_times and backfill:
            out.send(Control(f"loading:{identity}:{organisation}", moment, organisation, "loading"))
        last_times[organisation] = max(moment, last_times.get(organisation, moment))
        out.send(record)
        sent.backfilled += 1
        pace.wait()
        if not sent.backfilled % _TELL_EVERY:
            length = (until or simulation.end or at) - simulation.start
            tell(Step("simulating", at - simulation.start, length, f"{sent.backfilled:,} records"))
    if backfill:
        for organisation, moment in last_times.items():
            out.send(Control(f"caught_up:{identity}:{organisation}", moment, organisation, "caught_up"))
    return first_live


def _live(
    first: Delivery,
    stream: Iterator[Delivery],
    out: RecordSink,
    sent: _Sent,
    tell: Callable[[Step], None],
    *,
    rate: float | None,
    seconds: float | None,
) -> None:
    """Go on live: squeezed to ``rate`` records a second, or at the simulated moments themselves."""
    begun = time.time()
    squeezed = SqueezedTime(int(begun * 1000))
    delivery = first
    while True:
        due = begun + (sent.live + 1) / rate if rate else delivery.at / 1000
        if seconds is not None and due > begun + seconds:
            _sleep_until(begun + seconds, out)
            return
        _sleep_until(due, out)
        record = delivery.record
        if rate:
            squeezed.tie(delivery.at, int(due * 1000))
            record = squeezed.squeeze(record)
        out.send(record)
        sent.live += 1
        tell(Step("live", 0, 0, f"{sent.live:,} records, interrupt with Ctrl-C"))
        delivery = next(stream)


class _Pace:
    """Holds back to so many records a second."""

    def __init__(self, rate: float | None, out: RecordSink) -> None:
        self._rate = rate
        self._out = out
        self._begun = time.time()
        self._count = 0

    def wait(self) -> None:
        """Return when the next record may go."""
        if self._rate:
            self._count += 1
            _sleep_until(self._begun + self._count / self._rate, self._out)


def _sleep_until(moment: float, out: RecordSink) -> None:
    while (left := moment - time.time()) > 0:
        out.poll()
        time.sleep(min(left, _NAP_SECONDS))
