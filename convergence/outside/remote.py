"""A running server, over HTTP: asks it, reads its lists and its streams, raises our errors.

For `client.py`, which says what may be asked.
"""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from convergence import __version__
from convergence.errors import (
    Cancelled,
    CdpError,
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
)
from convergence.model.run import ENDED

Json = dict[str, Any]
DATA = "data: "
PAGE = 1000
PATIENT_SECONDS = 30
"""How long a server is waited for that has answered before: it may start anew."""
PAUSE_SECONDS = 0.5
STREAM = httpx2.Timeout(10, read=60)
"""Seconds: a stream has a sign of life every 15."""
PATIENCE = httpx2.Timeout(10, read=3700)
"""Seconds: a query may take as long as the server allows; it answers by itself then."""
ERRORS: Mapping[int, type[CdpError]] = {
    401: Unauthenticated,
    402: Forbidden,
    403: Forbidden,
    404: NotFound,
    408: Cancelled,
    409: Conflict,
    429: Unavailable,
}


class Remote:
    """The server at `url`, asked as the tenant of `api_key`, or else as the operator."""

    def __init__(self, url: str, *, api_key: str | None, admin_key: str | None) -> None:
        host = _check(url)
        self._url = url
        self._tenant_key = {"X-API-Key": api_key} if api_key else {}
        self._admin_key = {"X-Admin-Key": admin_key} if admin_key else {}
        self._http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={"User-Agent": f"cdp/{__version__}"},
            timeout=PATIENCE,
            trust_env=not _is_local(host),
        )

    def close(self) -> None:
        self._http.close()

    @property
    def _caller(self) -> dict[str, str]:
        """A tenant's key, where there is one, is what the caller wants to be."""
        return self._tenant_key or self._admin_key

    @property
    def _operator(self) -> dict[str, str]:
        return self._admin_key or self._tenant_key

    def _ask(
        self, method: str, path: str, params: Json | None = None, body: Json | None = None
    ) -> Json:
        return self._send(method, path, params=params, json=body, headers=self._caller)

    def _operate(
        self, method: str, path: str, body: Json | None = None, params: Json | None = None
    ) -> Json:
        return self._send(method, path, params=params, json=body, headers=self._operator)

    def _pages(
        self, path: str, params: Json, limit: int, headers: dict[str, str]
    ) -> Iterator[Json]:
        cursor: str | None = None
        while limit > 0:
            part = {**params, "limit": min(limit, PAGE), **({"cursor": cursor} if cursor else {})}
            page = self._send("GET", path, params=part, headers=headers)
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def _logs(self, path: str) -> Iterator[Json]:
        after: str | None = "0"
        while after is not None:
            page = self._send(
                "GET", path, params={"after": after, "limit": PAGE}, headers=self._caller
            )
            yield from page["items"]
            after = page["next_cursor"]

    def _follow(self, path: str) -> Iterator[Json]:
        """A run's events to its end; a stream that breaks is taken up where it broke. Raises
        Unavailable when it stays away.
        """
        after, since = 0, time.monotonic()
        while time.monotonic() - since < PATIENT_SECONDS:
            try:
                for event in self._stream(path, after):
                    after, since = event["sequence"], time.monotonic()
                    yield event
                    if _ends_run(event):
                        return
            except _OverError:
                return
            except (httpx2.HTTPError, Unavailable) as error:
                if after == 0:
                    raise self._unreachable(error) from error
            time.sleep(PAUSE_SECONDS)
        raise self._unreachable("its stream of events broke, and cannot be taken up again")

    def _stream(self, path: str, after: int) -> Iterator[Json]:
        headers = {**self._caller, "Last-Event-ID": str(after)}
        with self._http.stream("GET", path, headers=headers, timeout=STREAM) as answer:
            if answer.status_code == 204:
                raise _OverError
            if not answer.is_success:
                answer.read()
                self._content(answer)
            for line in answer.iter_lines():
                if line.startswith(DATA):
                    yield json.loads(line.removeprefix(DATA))

    def _pieces(
        self, method: str, path: str, *, params: Json, body: Json | None = None
    ) -> Iterator[bytes]:
        """A file, piece by piece."""
        headers = self._caller
        try:
            with self._http.stream(
                method, path, params=params, json=body, headers=headers
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    self._content(answer)
                yield from answer.iter_bytes()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _send(self, method: str, path: str, **what: Any) -> Json:  # noqa: ANN401 - as httpx2 takes it
        try:
            answer = self._http.request(method, path, **what)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._unreachable(error) from error
        return self._content(answer)

    def _content(self, answer: httpx2.Response) -> Json:
        try:
            content: Json = answer.json() if answer.content else {}
        except ValueError as error:
            raise Unavailable(
                f"what answers at {self._url} ({answer.status_code}) is no Convergence server",
                code="not_our_server",
                hint="check --server",
            ) from error
        if answer.is_success:
            return content
        raise _error(answer.status_code, content)

    def _unreachable(self, why: object) -> Unavailable:
        return Unavailable(
            f"the server at {self._url} cannot be reached: {why}",
            code="server_unreachable",
            hint="is it running? cdp serve; is --server right?",
        )


class _OverError(Exception):
    """Nothing comes any more in a run."""


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _ends_run(event: Json) -> bool:
    """Whether nothing comes after this event."""
    return event["step_id"] is None and event["status"] is not None and event["status"] in ENDED


def _error(status: int, problem: Json) -> CdpError:
    """The error that the server met, of the same family."""
    detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
    code = str(problem.get("code", ""))
    if code.startswith("quota_exceeded."):
        return _quota_error(detail, problem)
    hint = str(problem.get("hint") or "")
    if status >= 500:
        seen = f"look for request {problem.get('request_id')} in the server's log"
        return Unavailable(detail, code=code, hint=hint or seen)
    kind = ERRORS.get(status, Invalid)
    return kind(
        detail, code=code, hint=hint, faults=[_fault(each) for each in problem.get("errors", [])]
    )


def _quota_error(detail: str, problem: Json) -> QuotaExceeded:
    resets = problem.get("reset_at")
    error = QuotaExceeded(
        detail,
        kind=str(problem["quota_type"]),
        current=int(problem["current_usage"]),
        limit=int(problem["limit"]),
        reset_at=datetime.fromisoformat(resets) if resets else None,
    )
    error.hint = str(problem.get("hint") or "")
    return error


def _fault(said: Json) -> Fault:
    known = Fault.__dataclass_fields__.keys()
    return Fault(**{name: value for name, value in said.items() if name in known})


def _check(url: str) -> str:
    """The host of a server's URL. Raises Invalid."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in {"http", "https"} and parts.port != 0 else None
    except ValueError:
        host = None
    if host is None:
        raise Invalid(
            f"--server {url[:200]!r} is not a server's URL",
            code="invalid_server",
            hint="for example http://127.0.0.1:8080",
        )
    return host


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
