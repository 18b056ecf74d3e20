"""The application: routes, what surrounds them, how errors are answered. For `cdp serve`."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from secrets import token_urlsafe
from socket import socket
from types import ModuleType
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from convergence import __version__
from convergence.api import (
    auth,
    backups,
    bills,
    costs,
    credentials,
    docs,
    events,
    health,
    problems,
    quality,
    query,
    runs,
    scheduler,
    schedules,
    schema,
    signin,
    sources,
    templates,
    tenants,
    usage,
)
from convergence.api.auth import State
from convergence.api.middleware import BodyLimit, HeadAsGet, Measured, RequestId, SingleValues
from convergence.engine.follow import POLL_SECONDS, Feed
from convergence.engine.meter import FLUSH_SECONDS, Meter
from convergence.engine.rate import RateLimit, Turns
from convergence.engine.serve import start
from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.outside.logs import Log
from convergence.web import assets, lineage, live, overview, run, visitor
from convergence.web import costs as web_costs
from convergence.web import quality as web_quality
from convergence.web import runs as web_runs
from convergence.web import signin as web_signin
from convergence.web.problems import not_found_page

MAX_BODY = 256 * 1024
MOST_QUERIES = 4
"""Of one caller at once."""
WORKER_ROOMS = (health,)
"""What a worker answers: whether it is well, and what it counts."""
ROOMS = (
    *(docs, health, runs, events, tenants, usage, credentials, schedules, scheduler),
    *(sources, templates, costs, bills, quality, query, schema, backups, signin),
)
log = Log(__name__)
PAGES = (assets, web_signin, overview, web_costs, web_quality, lineage, web_runs, run, live)


class Application(FastAPI):
    """Describes itself with every error it may answer."""

    @override
    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            known = [route for route in self.routes if isinstance(route, APIRoute)]
            routes = [route for route in known if route.include_in_schema]
            self.openapi_schema = docs.describe(routes)
        return self.openapi_schema


class Server(uvicorn.Server):
    """Serves the application. When it stops it waits for answers, but not for endless ones."""

    @override
    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        if isinstance(self.config.app, FastAPI):
            state: State = self.config.app.state.cdp
            state.feed.end()
        await super().shutdown(sockets)


def create_app(
    service: Service,
    *,
    with_worker: bool,
    rooms: Sequence[ModuleType] = ROOMS,
    pages: Sequence[ModuleType] = PAGES,
) -> FastAPI:
    """The application over a service whose home the caller holds. Starts it, and closes it.

    `rooms` are the files of `api` whose routes it has, `pages` those of `web`.
    Raises TypeError for a route that does not say who may call it.
    """
    always = {"X-Auth-Disabled": "true"} if service.config.auth_disabled else {}
    app = Application(
        title="Convergence Data Pipeline",
        version=__version__,
        lifespan=_lifespan(with_worker=with_worker),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestId, always=always),
            Middleware(Measured, metrics=service.metrics),
            Middleware(SingleValues),
            Middleware(BodyLimit, most=MAX_BODY),
            Middleware(HeadAsGet),
        ],
        exception_handlers={
            CdpError: problems.answer_error,
            HTTPException: _answer_http,
            RequestValidationError: problems.answer_invalid,
        },
    )
    for room in rooms:
        auth.check_routes(room.router.routes)
        app.router.routes.extend(room.router.routes)
    for part in pages:
        visitor.check_routes(part.router.routes)
        app.router.routes.extend(part.router.routes)
    limit = RateLimit(service.config.rate_limit, time.monotonic)
    feed = Feed(service=service)
    app.state.web = visitor.State(
        service=service,
        limit=limit,
        attempts=RateLimit(web_signin.ATTEMPTS, time.monotonic),
        feed=feed,
        open_token=token_urlsafe(),
    )
    queries = Turns(MOST_QUERIES)
    app.state.cdp = State(service=service, limit=limit, queries=queries, meter=Meter(), feed=feed)
    return app


async def _answer_http(request: Request, error: Exception) -> Response:
    """What the framework refuses: a page for a browser that looks for one, else a problem."""
    wants_page = "text/html" in request.headers.get("Accept", "")
    is_api = request.url.path.startswith("/api/")
    if wants_page and not is_api and isinstance(error, HTTPException):
        return not_found_page(request, error)
    return await problems.answer_http(request, error)


def _lifespan(*, with_worker: bool) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state: State = app.state.cdp
        serving = await run_in_threadpool(start, state.service, with_worker=with_worker)
        app.state.serving = serving

        def flush() -> None:
            state.meter.flush(state.service)

        serving.every(FLUSH_SECONDS, flush)
        serving.every(POLL_SECONDS, state.feed.poll)
        try:
            yield
        finally:
            try:
                await run_in_threadpool(flush)
            except CdpError as error:
                log.warning("calls not counted at the end", error=error.detail)
            await run_in_threadpool(serving.stop)

    return lifespan
