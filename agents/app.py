"""The Faust application of the FUNNEL agent, and the process around it."""

import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import faust
import faust.stores
import faust.streams
import structlog
from yarl import URL

from agents.chunk import ChunkCommitter
from agents.funnel import FunnelAgent, OpenPartition
from agents.repeated_errors import RepeatedErrors
from agents.store import PartitionedStore
from agents.ticks import TickWriter
from agents.transport import ChunkPlan, ChunkTransport
from pipeline.codec import Codec, LocalResolver
from pipeline.counting.epochs import StartCheck, current_epoch
from pipeline.counting.folding import PartitionFolder
from pipeline.domain.windows import LocalDays
from pipeline.errors import TerminalError
from pipeline.settings import Settings
from pipeline.topics import EVENTS, FUNNEL_APPLICATION, STATE_TABLE, admin_client, changelog_of

STREAM_BUFFER_CHUNKS = 16
RECOVERY_BUFFER_CHUNKS = 2
"""Faust would buffer 1,000 messages, and each of ours is 5,000 records."""
FETCH_BYTES = 4 * 1024 * 1024
"""At Faust's default the transport sits idle 15-30 % of the time."""
TICK_SECONDS = 1.0
COLLECT_SECONDS = 60.0

log = structlog.get_logger(__name__)


class PureFaustError(TerminalError):
    """Faust runs without its compiled stream iterator, whose Python form acknowledges what it skips."""

    def __init__(self) -> None:
        super().__init__(
            "faust-streaming has no compiled stream iterator here (faust._cython.streams); install its binary wheel: "
            "the pure Python form acknowledges messages that it skips"
        )


@dataclass(frozen=True, slots=True)
class FunnelWorker:
    """A worker ready to run, with the parts that tests look at."""

    app: faust.App
    agent: FunnelAgent
    store: PartitionedStore
    committer: ChunkCommitter


def create_worker(
    settings: Settings, known_content: Mapping[str, str], open_partition: OpenPartition = PartitionFolder
) -> FunnelWorker:
    """Build the application for the current epoch.

    Args:
        settings: broker, partitions, time zone.
        known_content: hash of each reference data set of this version.
        open_partition: makes the fold of a partition; the benchmark of the transport passes a simpler one.

    Raises:
        TerminalError: the topics or the state log do not fit the input; the message says what to run.
    """
    if faust.streams._CStreamIterator is None:  # noqa: SLF001  the only place that tells
        raise PureFaustError
    bootstrap = settings.bootstrap()
    admin = admin_client(bootstrap)
    codec = Codec(LocalResolver.load())
    epoch = current_epoch(bootstrap, codec).epoch
    check = StartCheck.prepare(admin, epoch, settings.partitions)
    urls = [URL(f"kafka://{address.strip()}") for address in bootstrap.split(",")]
    faust.stores.STORES.aliases["partitioned"] = "agents.store:PartitionedStore"
    app = faust.App(
        FUNNEL_APPLICATION,
        broker=urls,
        store="partitioned://",
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        stream_buffer_maxsize=STREAM_BUFFER_CHUNKS,
        stream_wait_empty=True,
        consumer_max_fetch_size=FETCH_BYTES,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.session_timeout_seconds / 5,
        broker_commit_interval=1.0,
        logging_config=_logging_config(settings.log_level),
    )
    table = app.Table(
        f"{STATE_TABLE}-{epoch}", key_type=bytes, value_type=bytes, recovery_buffer_size=RECOVERY_BUFFER_CHUNKS
    )
    store: PartitionedStore = table.data
    committer = ChunkCommitter(bootstrap, changelog_of(epoch), store)
    days = LocalDays(settings.timezone)
    agent = FunnelAgent(app, store, committer, codec, days, known_content, check.verify, open_partition)
    app.transport = ChunkTransport(urls, app, plan=ChunkPlan(EVENTS, changelog_of(epoch), agent.next_offset))
    events = app.topic(EVENTS, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)
    app.agent(events, name="funnel")(agent.consume)
    ticks = TickWriter(app, committer, codec)
    app.timer(TICK_SECONDS)(ticks.write_due)
    app.on_before_shutdown.connect(_closing(committer))
    return FunnelWorker(app, agent, store, committer)


def run_worker(settings: Settings, known_content: Mapping[str, str]) -> int:
    """Run a worker until it is told to stop; return the process's exit code.

    SIGTERM drains: the chunk in hand is committed and acknowledged, and the exit code is 0.
    """
    worker = create_worker(settings, known_content)
    collect_garbage_seldom(worker.app)
    try:
        faust.Worker(worker.app, loglevel=settings.log_level).execute_from_commandline()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def collect_garbage_seldom(app: faust.App) -> None:
    """Let Python look for cycles once a minute instead of after so many objects.

    The fold makes none, and looking through what it makes took a fifth of its time (a tenth when done every 50,000
    objects); aiokafka and asyncio make some, whenever a call fails.
    """
    gc.freeze()
    gc.disable()

    async def collect() -> None:
        gc.collect()

    app.timer(COLLECT_SECONDS)(collect)


def _closing(committer: ChunkCommitter):  # type: ignore[no-untyped-def]  # noqa: ANN202  Faust's signal handler
    async def close(*_args: object, **_kwargs: object) -> None:
        await committer.stop()

    return close


def _logging_config(level: str) -> dict[str, object]:
    """Return a logging configuration of plain JSON-like lines; Faust would clear the root handlers otherwise."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "filters": {"repeated": {"()": RepeatedErrors}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["repeated"]}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {"aiokafka": {"level": logging.getLevelName(logging.ERROR)}},
    }
