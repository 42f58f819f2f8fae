"""The boards API: read-only views over HTTP, one bearer token an audience.

``GET /boards/<view>?from=&to=&organisation=...`` answers ``{"as_of", "view", "period", "suppressed", "rows"}`` with
times in epoch milliseconds, or CSV when the request accepts ``text/csv``. A view is a ``.sql`` file in ``sinks/views``.
"""

import asyncio
import csv
import io
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import structlog
from aiohttp import web
from prometheus_client import generate_latest

from pipeline.domain.windows import LocalDays
from sinks.audiences import Tokens
from sinks.errors import HistoryQueryError
from sinks.health import Condition, Health, now_ms
from sinks.metrics import HistoryMetrics
from sinks.periods import Period, read_period
from sinks.statements import Statement, load_statements

STATEMENT_SECONDS: Final = 10.0
"""A view that takes longer is interrupted: a board refreshes every few seconds and would pile up requests."""

CACHE_SECONDS: Final = 1.0
"""Ten people with the same board open cost one query a second."""

_INTERRUPT_AGAIN_SECONDS: Final = 0.02
_AS_OF: Final = "SELECT coalesce(max(committed_ms), 0) FROM source_offsets"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view answered: its rows, the period they are for, and the commit they stand on."""

    as_of: int
    period: Period | None
    columns: list[str]
    rows: list[dict[str, Any]]


class Boards:
    """Answers views from the history file."""

    def __init__(
        self,
        *,
        cursor: Callable[[], Any],
        executor: Executor,
        tokens: Tokens,
        health: Health,
        metrics: HistoryMetrics,
        days: LocalDays,
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> None:
        """Prepare the views.

        Args:
            cursor: Gives a cursor on the history file; one is taken and closed for each request.
            executor: Threads in which the queries run.
            tokens: Who may ask.
            health: What ``/readyz`` says.
            metrics: What ``/metrics`` says.
            days: The zone whose days are counted.
            statement_seconds: After how long a view is interrupted.
        """
        self._cursor = cursor
        self._executor = executor
        self._tokens = tokens
        self._health = health
        self._metrics = metrics
        self._days = days
        self._statement_seconds = statement_seconds
        self._views = load_statements("views")
        self._cache: dict[tuple[Any, ...], tuple[float, asyncio.Future[Answer]]] = {}

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(middlewares=[self._refuse])
        application.router.add_get("/boards/{view}", self._view)
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics_page)
        return application

    async def _view(self, request: web.Request) -> web.Response:
        statement = self._allowed(request)
        given = _single_values(request)
        period = read_period(statement.period, given, self._days, now_ms())
        bound = {**statement.bind(given), **(period.bound if period else {})}
        with self._metrics.view_seconds.labels(statement.name).time():
            found = await self._cached(statement, given, bound, period)
        if "text/csv" in request.headers.get("Accept", ""):
            return web.Response(text=_csv(found), content_type="text/csv")
        return web.json_response(
            {
                "as_of": found.as_of,
                "view": statement.name,
                "period": found.period.shown if found.period else None,
                "suppressed": 0,
                "rows": found.rows,
            }
        )

    def _allowed(self, request: web.Request) -> Statement:
        """Check who asks before what is asked, so that nobody learns the names of views without a token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        audience = self._tokens.audience_of(token.strip()) if scheme.lower() == "bearer" else None
        if audience is None:
            raise web.HTTPUnauthorized(
                text="expected the header Authorization: Bearer <token of an audience>",
                headers={"WWW-Authenticate": "Bearer"},
            )
        statement = self._views.get(request.match_info["view"])
        if statement is None:
            raise web.HTTPNotFound(text=f"there is no such view; known: {', '.join(self._views)}")
        if audience not in statement.audiences:
            allowed = ", ".join(sorted(statement.audiences))
            raise web.HTTPForbidden(text=f"view {statement.name} is for {allowed}; this token is for {audience}")
        for name, reason in statement.closed.items():
            if name in request.query:
                raise web.HTTPForbidden(text=f"{statement.name} by {name}: {reason}")
        return statement

    async def _cached(
        self, statement: Statement, given: Mapping[str, str], bound: dict[str, Any], period: Period | None
    ) -> Answer:
        now = time.monotonic()
        self._cache = {key: kept for key, kept in self._cache.items() if now - kept[0] < CACHE_SECONDS}
        key = (statement.name, *sorted(given.items()))
        if key not in self._cache:
            task = asyncio.ensure_future(self._run(statement, bound, period))
            self._cache[key] = (now, task)
        try:
            return await asyncio.shield(self._cache[key][1])
        except BaseException:
            self._cache.pop(key, None)
            raise

    async def _run(self, statement: Statement, bound: dict[str, Any], period: Period | None) -> Answer:
        loop = asyncio.get_running_loop()
        with closing(self._cursor()) as cursor:
            stopper = loop.create_task(self._stop_late(cursor))
            try:
                return await loop.run_in_executor(self._executor, _answer, cursor, statement, bound, period)
            except duckdb.InterruptException:
                raise web.HTTPServiceUnavailable(
                    text=f"{statement.name} took over {self._statement_seconds:g} s and was stopped; ask for "
                    "less time or one organisation"
                ) from None
            finally:
                stopper.cancel()

    async def _stop_late(self, cursor: Any) -> None:
        """Interrupt until it helps: an interrupt between two statements would be forgotten."""
        await asyncio.sleep(self._statement_seconds)
        while True:
            cursor.interrupt()
            await asyncio.sleep(_INTERRUPT_AGAIN_SECONDS)

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except HistoryQueryError as error:
            response = _error(400, str(error))
        except web.HTTPException as error:
            response = _error(error.status, error.text or error.reason, error.headers.get("WWW-Authenticate"))
        except duckdb.Error:
            log.exception("board_view_failed")
            response = _error(500, "the history file could not answer; the log of the history process says why")
        if response.status >= web.HTTPBadRequest.status_code:
            self._metrics.view_errors.labels(str(response.status)).inc()
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _livez(self, _: web.Request) -> web.Response:
        stopped = self._health.status.condition is Condition.STOPPED
        return web.json_response({"alive": not stopped}, status=503 if stopped else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        status = self._health.status
        return web.json_response(
            {
                "ready": status.is_ready,
                "condition": status.condition,
                "reason": status.reason,
                "committed_at": status.committed_ms,
            },
            status=200 if status.is_ready else 503,
        )

    async def _metrics_page(self, _: web.Request) -> web.Response:
        self._metrics.ready.set(self._health.status.is_ready)
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": "text/plain; version=0.0.4"}
        )


def _answer(cursor: Any, statement: Statement, bound: dict[str, Any], period: Period | None) -> Answer:
    """Read rows and the time of their commit from one snapshot."""
    cursor.begin()
    try:
        as_of = cursor.execute(_AS_OF).fetchall()[0][0]
        result = cursor.execute(statement.sql, bound)
        columns = [column[0] for column in result.description]
        rows = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    finally:
        cursor.rollback()
    return Answer(as_of, period, columns, rows)


def _single_values(request: web.Request) -> dict[str, str]:
    """Return the query parameters; one that comes several times is a list of texts."""
    return {name: ",".join(request.query.getall(name)) for name in request.query}


def _csv(found: Answer) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, found.columns)
    writer.writeheader()
    writer.writerows(found.rows)
    return text.getvalue()


def _error(status: int, message: str, challenge: str | None = None) -> web.Response:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    return web.Response(
        text=json.dumps({"error": message}), status=status, content_type="application/json", headers=headers
    )
