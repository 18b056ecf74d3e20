"""Errors as pages: what happened, what to do, and the id under which the log has the rest."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from typing_extensions import override

from convergence.engine.rate import RateLimited
from convergence.engine.signin import PATH as SIGN_IN
from convergence.errors import (
    Cancelled,
    CdpError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
    WarehouseError,
)
from convergence.outside.logs import Log
from convergence.web.render import FIRST, page

STATUS: Mapping[type[CdpError], tuple[int, str]] = {
    Invalid: (422, "That cannot be shown"),
    Unauthenticated: (401, "Please sign in"),
    Forbidden: (403, "Not allowed"),
    NotFound: (404, "Not found"),
    Conflict: (409, "Not now"),
    QuotaExceeded: (429, "The quota is used up"),
    RateLimited: (429, "Too many requests"),
    Unavailable: (503, "Not available right now"),
    WarehouseError: (503, "The warehouse is not available"),
    Cancelled: (408, "That took too long"),
}
BROKEN = (500, "Something went wrong")

log = Log(__name__)


class PageRoute(APIRoute):
    """A route whose errors are pages. Who is not signed in is led to where one can."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthenticated as error:
                return _sign_in(request) if request.method == "GET" else error_page(request, error)
            except CdpError as error:
                return error_page(request, error)
            except RequestValidationError as error:
                where = error.errors()[0]["loc"][-1]
                return error_page(request, Invalid(f"{where}: {error.errors()[0]['msg']}"))
            except HTTPException:
                raise
            except Exception:
                log.exception("page broke", path=request.url.path)
                return _broken_page(request)

        return answer


def error_page(request: Request, error: CdpError) -> Response:
    kinds = (STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    status, title = next(kinds, BROKEN)
    if status >= 500:
        log.exception("page failed", code=error.code, status=status)  # noqa: LOG004 - called in one
    return page(
        request,
        "error.html",
        status_code=status,
        status=status,
        title=title,
        detail=error.detail,
        hint=error.hint,
        code=error.code,
    )


def not_found_page(request: Request, error: HTTPException) -> Response:
    """For a path that leads nowhere, or a method that it does not know."""
    detail = "There is no page at this address" if error.status_code == 404 else error.detail
    return page(
        request,
        "error.html",
        status_code=error.status_code,
        status=error.status_code,
        title="Not found" if error.status_code == 404 else BROKEN[1],
        detail=detail,
        hint="",
        code="not_found",
    )


def _broken_page(request: Request) -> Response:
    """A fault of ours: the cause is in the log alone."""
    return page(
        request,
        "error.html",
        status_code=500,
        status=500,
        title=BROKEN[1],
        detail="An unexpected error occurred",
        hint="",
        code="internal_error",
    )


def _sign_in(request: Request) -> Response:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    place = f"{SIGN_IN}?next={quote(back, safe='/')}" if back != FIRST else SIGN_IN
    if "HX-Request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": place})
    return RedirectResponse(place, status_code=303)
