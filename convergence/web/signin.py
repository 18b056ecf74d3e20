"""Sign in: a key, or a link that is good once, becomes a session; and sign out."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import RedirectResponse

from convergence.engine import signin
from convergence.errors import CdpError, Forbidden
from convergence.web.problems import PageRoute, error_page
from convergence.web.render import FIRST, page
from convergence.web.visitor import Acting, Anybody, State, cookie_name, read_form

router = APIRouter(route_class=PageRoute, include_in_schema=False)

ATTEMPTS = 5
"""Failed ones of an address in a minute."""
ELSEWHERE = frozenset({"cross-site", "same-site"})

Next = Annotated[str, Query(alias="next", max_length=2000)]
Link = Annotated[str, Query(max_length=100)]


@router.get(signin.PATH)
def show(state: Anybody, request: Request, back: Next = FIRST, link: Link = "") -> Response:
    """The form; or, for a link that was opened by hand, the session at once."""
    if state.service.config.auth_disabled:
        return RedirectResponse(_local(back), status_code=303)
    if link and not _is_from_elsewhere(request):
        return _attempt(state, request, link=link, back=FIRST)
    return page(request, "signin.html", back=_local(back), link=link, problem=None)


@router.post(signin.PATH)
def sign_in(state: Anybody, request: Request, body: Annotated[bytes, Body()]) -> Response:
    form = read_form(request, body)
    back = _local(form.get("next", FIRST))
    key = form.get("key", "").strip()
    return _attempt(state, request, link=form.get("link", ""), key=key, back=back)


@router.post("/sign-out")
def sign_out(actor: Acting, request: Request) -> Response:
    name = cookie_name(request)
    signin.end(actor.service, request.cookies.get(name, ""))
    answer = RedirectResponse(signin.PATH, status_code=303)
    answer.delete_cookie(name, secure=request.url.scheme == "https", httponly=True)
    return answer


def _attempt(
    state: State, request: Request, *, link: str = "", key: str = "", back: str
) -> Response:
    address = f"sign-in {request.client.host if request.client else ''}"
    try:
        state.attempts.take(address, 0)
    except CdpError as error:
        return error_page(request, error)
    try:
        if link:
            session_id = signin.use_link(state.service, link)
        else:
            session_id = signin.use_key(state.service, key)
    except CdpError as error:
        state.attempts.take(address)
        status = 403 if isinstance(error, Forbidden) else 401
        return page(request, "signin.html", back=back, link="", problem=error, status_code=status)
    answer = RedirectResponse(back, status_code=303)
    answer.set_cookie(
        cookie_name(request),
        session_id,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
        path="/",
    )
    return answer


def _is_from_elsewhere(request: Request) -> bool:
    """Whether another site led here: it must not choose as whom the visitor signs in. A browser
    that only looks ahead must not use the link up either.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    return site in ELSEWHERE or "Sec-Purpose" in request.headers


def _local(path: str) -> str:
    """A path of this server, or its first page."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else FIRST
