"""The history process: one thread writes what Kafka brings, the event loop serves boards and the other commands."""

import asyncio
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Final

import structlog
from aiohttp import web

from pipeline.domain.windows import LocalDays
from pipeline.errors import TerminalError
from pipeline.settings import Settings
from sinks.audiences import Tokens, write_private
from sinks.boards import Boards
from sinks.database import Database, history_file
from sinks.gateway import Gateway, socket_file
from sinks.health import Condition, Health
from sinks.metrics import HistoryMetrics
from sinks.recorder import Recorder

QUERY_THREADS: Final = 8
"""Queries that run at a time; DuckDB shares two cores among them, more would only wait."""

log = structlog.get_logger()


class BoardsPortError(TerminalError):
    """The boards API cannot listen where it should."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"the boards API cannot listen on {host}:{port}: {problem}. Set PARITYFLOW_BOARDS_PORT to a free port "
            "(0 picks one)"
        )


def run_history(settings: Settings) -> int:
    """Run the history process until SIGTERM or SIGINT; the batch in hand is committed first.

    Returns:
        0 after a signal.

    Raises:
        PipelineError: it cannot start or go on; the message says what to do.
    """
    os.umask(0o077)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    bootstrap = settings.bootstrap()
    database = Database.open(history_file(settings))
    try:
        asyncio.run(_serve(settings, bootstrap, database))
        database.checkpoint()
    finally:
        database.close()
    return 0


async def _serve(settings: Settings, bootstrap: str, database: Database) -> None:
    health, metrics, stop = Health(), HistoryMetrics.create(), threading.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    recorder = Recorder(database, health, metrics, stop)
    tokens = Tokens.load(settings)
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(QUERY_THREADS, "query"))
        boards = Boards(
            cursor=database.cursor,
            executor=executor,
            tokens=tokens,
            health=health,
            metrics=metrics,
            days=LocalDays(settings.timezone),
        )
        url = await _listen(stack, settings, boards)
        gateway = await Gateway(database.cursor, executor).open(socket_file(settings))
        stack.callback(socket_file(settings).unlink, missing_ok=True)
        stack.callback(gateway.close)
        boards_file = settings.state_dir / "boards.json"
        write_private(boards_file, json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        stack.callback(boards_file.unlink, missing_ok=True)
        log.info("history_started", boards=url, tokens=str(tokens.file) if tokens.file else "settings")
        try:
            await asyncio.to_thread(recorder.run, bootstrap, settings.partitions)
        finally:
            health.become(Condition.STOPPED, "stopping")
            log.info("history_stopped")


async def _listen(stack: AsyncExitStack, settings: Settings, boards: Boards) -> str:
    runner = web.AppRunner(boards.application(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, settings.boards_host, settings.boards_port)
    try:
        await site.start()
    except OSError as error:
        problem = error.strerror or str(error)
        raise BoardsPortError(settings.boards_host, settings.boards_port, problem) from error
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
