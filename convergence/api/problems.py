"""Errors as answers: one table from the kind of an error to its status, one form for all."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from convergence.api import wire
from convergence.engine.rate import RateLimited
from convergence.errors import (
    Cancelled,
    CdpError,
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    StepFailed,
    Unauthenticated,
    Unavailable,
    WarehouseError,
)
from convergence.outside.logs import Log

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 50

STATUS: Mapping[type[CdpError], int] = {
    Invalid: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    QuotaExceeded: 429,
    RateLimited: 429,
    Unavailable: 503,
    WarehouseError: 503,
    StepFailed: 500,
    Cancelled: 408,
}
BY_CODE: Mapping[str, int] = {
    "duplicate_header": 400,
    "invalid_template_name": 404,
    "subscription_expired": 402,
    "result_too_large": 413,
    "query_too_large": 413,
}
"""A path that cannot be a template's is one that leads nowhere; what has ended wants payment."""

OF_HTTP: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The body cannot be read"),
    404: ("not_found", "There is nothing at this path"),
    405: ("method_not_allowed", "This path does not know this method"),
    413: ("body_too_large", ""),
}
"""Code and sentence for what the framework refuses; an empty sentence is the framework's own."""

WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this",
    "model_attributes_type": "must be a JSON object, sent as application/json",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "string_unicode": "must be text without broken characters",
}
SLOT_SECONDS = 5
"""When to ask again for a slot: nobody knows how long the runs that hold them take."""
LONGEST_POINTER = 100
RETRY_SECONDS = "2"
"""After which a dependency may be there again."""
CHALLENGE = 'Bearer realm="cdp"'

OUTSIDE: Mapping[str, str] = {"store_unavailable": "The control store is away at the moment"}
"""What callers read in place of a detail that tells of the inside; the log has it whole."""

log = Log(__name__)


def told(error: CdpError) -> str:
    """What callers read of an error."""
    return OUTSIDE.get(error.code, error.detail)


def status_of(error: CdpError) -> int:
    """400 for SQL that is wrong or refused; else by the kind of the error."""
    if isinstance(error, Invalid) and error.code.startswith("sql"):
        return 400
    by_kind = (STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return BY_CODE.get(error.code) or next(by_kind, 500)


async def answer_error(request: Request, error: Exception) -> Response:
    """Our own errors. A fault of ours or of a dependency is logged with its stack trace."""
    if not isinstance(error, CdpError):
        raise TypeError(f"not one of ours: {error!r}") from error
    status = status_of(error)
    if status >= 500:
        log.exception("request failed", code=error.code, status=status)  # noqa: LOG004 - called in one
    problem = _problem(
        request, status, code=error.code, detail=told(error), hint=error.hint, faults=error.faults
    )
    if isinstance(error, QuotaExceeded | RateLimited):
        limited = _with_limit(problem, error, request)
        return _answer(limited, {"Retry-After": str(limited.retry_after)})
    return _answer(problem, _headers(error, status))


def _headers(error: CdpError, status: int) -> dict[str, str] | None:
    """How to come in; when to come again, unless it is never the right place."""
    if status == 401:
        return {"WWW-Authenticate": CHALLENGE}
    if error.code == "request_in_flight":
        return {"Retry-After": RETRY_SECONDS}
    if status == 503 and error.code != "warehouse_elsewhere":
        return {"Retry-After": RETRY_SECONDS}
    return None


async def answer_http(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such route, another method, a body that cannot be read."""
    if not isinstance(error, HTTPException):
        raise TypeError(f"not one of the framework's: {error!r}") from error
    status = error.status_code
    code, detail = OF_HTTP.get(status, (f"http_{status}", error.detail))
    problem = _problem(request, status, code=code, detail=detail or error.detail)
    return _answer(problem, {"Allow": _methods(request)} if status == 405 else error.headers)


async def answer_invalid(request: Request, error: Exception) -> Response:
    """A body or a parameter that does not fit. What was sent is never echoed."""
    if not isinstance(error, RequestValidationError):
        raise TypeError(f"not about a request: {error!r}") from error
    found = error.errors()[:MAX_FAULTS]
    if found[0]["type"] == "json_invalid":
        return _answer(_not_json(request, found[0]))
    faults = [_fault(item) for item in found]
    first = f"{faults[0].pointer or 'the body'} {faults[0].message}"
    problem = _problem(
        request,
        422,
        code="invalid_request",
        detail=f"The request is not valid: {first}",
        hint="see /docs for what this route takes",
        faults=faults,
    )
    return _answer(problem)


def answer_unexpected(request: Request) -> Response:
    """A fault of ours. The cause is in the log alone."""
    problem = _problem(
        request,
        500,
        code="internal_error",
        detail="An unexpected error occurred",
        hint="the log has the cause under this request_id: logs/cdp.log in the server's home",
    )
    return _answer(problem.model_copy(update={"error": "Internal server error"}))


def not_ready(request: Request, checks: Mapping[str, str]) -> Response:
    failing = ", ".join(name for name, state in checks.items() if state != "ok")
    problem = _problem(
        request,
        503,
        code="not_ready",
        detail=f"Not ready: {failing}",
        hint="; ".join(state for state in checks.values() if state != "ok"),
    )
    return _answer(wire.ReadinessProblem(**problem.model_dump(), checks=dict(checks)))


def _methods(request: Request) -> str:
    """What the path of this request would know."""
    fitting = [route for route in request.app.routes if route.matches(request.scope)[0].value]
    known = {method for route in fitting for method in route.methods}
    return ", ".join(sorted(known | ({"HEAD"} if "GET" in known else set())))


def _problem(
    request: Request,
    status: int,
    *,
    code: str,
    detail: str,
    hint: str = "",
    faults: Sequence[Fault] = (),
) -> wire.Problem:
    title = HTTPStatus(status).phrase
    return wire.Problem(
        type=f"urn:cdp:error:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request.scope["cdp.request_id"],
        errors=[wire.fault_out(fault) for fault in faults],
        hint=hint,
        error=title,
        message=detail,
    )


def _not_json(request: Request, item: Mapping[str, Any]) -> wire.Problem:
    """The framework gives the parser's words, and counts characters from 0."""
    place = item["loc"][-1] if isinstance(item["loc"][-1], int) else 0
    why = str(item.get("ctx", {}).get("error", "")).lower()
    detail = f"The body is not JSON, at character {place + 1}" + (f": {why}" if why else "")
    return _problem(request, 400, code="invalid_json", detail=detail, hint="send JSON in UTF-8")


def _with_limit(
    problem: wire.Problem, error: QuotaExceeded | RateLimited, request: Request
) -> wire.QuotaProblem | wire.RateProblem:
    shared = problem.model_dump()
    if isinstance(error, RateLimited):
        return wire.RateProblem(**shared, retry_after=error.retry_after)
    retry_after = SLOT_SECONDS
    if error.reset_at is not None:
        now = request.app.state.cdp.service.clock.now()
        retry_after = max(1, math.ceil((error.reset_at - now).total_seconds()))
    return wire.QuotaProblem(
        **shared,
        quota_type=error.kind,
        current_usage=error.current,
        limit=error.limit,
        reset_at=error.reset_at,
        retry_after=retry_after,
    )


def _fault(item: Mapping[str, Any]) -> Fault:
    """What pydantic refuses, as a JSON pointer into the body, or `query/limit` and the like."""
    if item["type"] == "broken_text":
        return Fault(
            message="holds half of a character (a lone surrogate)",
            pointer=item["ctx"]["pointer"][:LONGEST_POINTER],
        )
    where, *path = item["loc"]
    parts = (str(part)[:LONGEST_POINTER].replace("~", "~0").replace("/", "~1") for part in path)
    message = str(item["msg"])
    return Fault(
        message=WORDS.get(item["type"], message[:1].lower() + message[1:]),
        pointer="/".join(("" if where == "body" else where, *parts)),
    )


def _answer(problem: wire.Problem, headers: Mapping[str, str] | None = None) -> Response:
    content = problem.model_dump(mode="json")
    content["errors"] = [
        {name: value for name, value in fault.items() if value} for fault in content["errors"]
    ]
    return JSONResponse(
        content,
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )
