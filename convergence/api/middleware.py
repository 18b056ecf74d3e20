"""What surrounds each request: its id, the last wall, headers, metrics, limits. Reads no body."""

import re
import time
from collections import Counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convergence.api import problems
from convergence.errors import Invalid
from convergence.outside import logs
from convergence.outside.logs import Log
from convergence.outside.metrics import Metrics

CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""A route that knows better sets its own."""
SINGLE = ("X-API-Key", "X-Admin-Key", "Authorization", "Idempotency-Key", "Content-Type")
"""Headers of which one counts, so that a second one must not be overlooked."""
REPEATABLE = ("filter", "status")
"""Parameters of which several count."""

IS_HEAD = "cdp.is_head"

log = Log(__name__)


def is_head(scope: Scope) -> bool:
    """Whether the request, which a route takes for GET, was a HEAD."""
    return scope.get(IS_HEAD, False) is True


class RequestId:
    """Gives each request an id: in the scope, on every log line, on every answer.

    A client's own X-Request-ID is logged beside it. What no handler caught ends here.
    """

    def __init__(self, app: ASGIApp, *, always: dict[str, str]) -> None:
        self._app = app
        self._always = always

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["cdp.request_id"] = str(uuid4())
        given = Headers(scope=scope).get("X-Request-ID", "")
        client_id = given if CLIENT_ID.fullmatch(given) else None
        has_begun = False

        async def send_marked(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in (SECURITY | self._always).items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
                if client_id:
                    headers["X-Client-Request-ID"] = client_id
            await send(message)

        with logs.bind(request_id=request_id, client_request_id=client_id):
            try:
                await self._app(scope, receive, send_marked)
            except Exception:
                log.exception("request broke", method=scope["method"], path=scope["path"])
                if has_begun:
                    raise
                answer = problems.answer_unexpected(Request(scope))
                await answer(scope, receive, send_marked)


class Measured:
    """Logs each request; counts and times it by the template of its route."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, method, status = time.perf_counter(), scope["method"], 500

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            route = getattr(scope.get("route"), "path", "")
            seconds = time.perf_counter() - began
            self._metrics.http(method, route, status=status, seconds=seconds)
            spent = round(seconds * 1000, 1)
            log.info("request", method=method, path=scope["path"], status=status, ms=spent)


class SingleValues:
    """Refuses a request that sends twice of what one counts, a header or a parameter: whose key
    was meant, and which day?
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := _sent_twice(scope)):
            answer = await problems.answer_error(Request(scope), refusal)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _sent_twice(scope: Scope) -> Invalid | None:
    headers = Headers(scope=scope)
    for name in SINGLE:
        if len(headers.getlist(name)) > 1:
            return Invalid(
                f"The header {name} was sent more than once",
                code="duplicate_header",
                hint=f"send {name} once",
            )
    if not scope["path"].startswith("/api/"):
        return None
    given = Counter(name for name, _ in QueryParams(scope["query_string"]).multi_items())
    twice = [name for name, times in given.items() if times > 1 and name not in REPEATABLE]
    if twice:
        return Invalid(
            f"The parameter {twice[0][:40]!r} was sent more than once",
            code="duplicate_parameter",
            hint=f"once, but for {' and '.join(REPEATABLE)}",
        )
    return None


class BodyLimit:
    """Refuses a body of more than `most` bytes: by what it says of itself, or while it comes."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise self._refusal()
            return message

        said = Headers(scope=scope).get("Content-Length", "0")
        if said.isdecimal() and int(said) > self._most:
            answer = await problems.answer_http(Request(scope), self._refusal())
            await answer(scope, receive, send)
            return
        await self._app(scope, receive_counted, send)

    def _refusal(self) -> HTTPException:
        return HTTPException(413, f"The body has more than {self._most:,} bytes")


class HeadAsGet:
    """Answers HEAD as GET, without the body. A route that streams must see `is_head` and end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope["method"] = "GET"
        scope[IS_HEAD] = True
        await self._app(scope, receive, send_head)
