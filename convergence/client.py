"""A client of a running server: `cdp --server`. Speaks HTTP, answers JSON, raises our errors."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx2
from typing_extensions import override

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
Tell = Callable[[Json], None]

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


class Client(Protocol):
    """What the commands ask of the service, in the shapes of the wire. Methods raise CdpError."""

    def close(self) -> None: ...

    def onboard(self, application: Json) -> Json: ...
    def tenants(self, *, limit: int) -> list[Json]: ...
    def tenant(self, tenant_id: str) -> Json: ...

    def keys(self, tenant_id: str) -> list[Json]: ...
    def create_key(self, tenant_id: str, wanted: Json) -> Json: ...
    def revoke_key(self, tenant_id: str, key_id: str) -> None: ...

    def usage(self, tenant_id: str) -> Json: ...
    def set_limits(self, tenant_id: str, changes: Json) -> Json: ...

    def subscription(self, tenant_id: str) -> Json: ...
    def subscribe(self, tenant_id: str, changes: Json) -> Json: ...

    def sources(self) -> list[Json]: ...
    def add_source(self, source: Json) -> Json: ...
    def remove_source(self, table: str) -> None: ...

    def templates(self) -> list[Json]: ...
    def template(self, ref: str) -> Json: ...

    def schedules(self, tenant_id: str) -> list[Json]: ...
    def schedule(self, tenant_id: str, config_id: str) -> Json: ...
    def add_schedule(self, tenant_id: str, wanted: Json) -> Json: ...
    def change_schedule(self, tenant_id: str, config_id: str, changes: Json) -> Json: ...
    def remove_schedule(self, tenant_id: str, config_id: str) -> None: ...

    def trigger(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        """Ask for a run; the accepted one, or the live one of the same pipeline and date."""
        ...

    def plan(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        """What such a run would do, and what would stop it."""
        ...

    def is_alone(self) -> bool:
        """Whether nobody but this client executes runs."""
        ...

    def follow(self, run_id: str, tell: Tell) -> Json:
        """Wait for a run's end, telling what happens meanwhile; the run with its steps."""
        ...

    def events(self, run_id: str, *, follow: bool = False) -> Iterator[Json]:
        """What happened in a run, in order; with `follow` also what happens, until its end."""
        ...

    def cancel(self, run_id: str) -> Json:
        """Ask a run to end; the run as it is then, CANCELLED or still RUNNING."""
        ...

    def retry(self, run_id: str, wanted: Json) -> Json:
        """Ask for a run that does again what this one did not finish; what was accepted."""
        ...

    def run(self, run_id: str) -> Json: ...
    def runs(self, tenant_id: str | None, chosen: Json, *, limit: int) -> list[Json]: ...

    def costs(self, tenant_id: str, question: Json) -> Json: ...
    def restatements(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]: ...
    def reconciliation(self, tenant_id: str, chosen: Json) -> list[Json]: ...
    def query(self, tenant_id: str | None, sql: str) -> Json: ...


class HttpClient(Client):
    """Asks the server at `url`: as the tenant of `api_key`, or else as the operator."""

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

    @override
    def close(self) -> None:
        self._http.close()

    @override
    def onboard(self, application: Json) -> Json:
        return self._operate("POST", "/tenants/onboard", body=application)

    @override
    def tenants(self, *, limit: int) -> list[Json]:
        return list(self._pages("/tenants", {}, limit, self._operator))

    @override
    def tenant(self, tenant_id: str) -> Json:
        return self._ask("GET", f"/tenants/{_part(tenant_id)}")

    @override
    def keys(self, tenant_id: str) -> list[Json]:
        return list(self._pages(f"/tenants/{_part(tenant_id)}/api-keys", {}, PAGE, self._caller))

    @override
    def create_key(self, tenant_id: str, wanted: Json) -> Json:
        return self._ask("POST", f"/tenants/{_part(tenant_id)}/api-keys", body=wanted)

    @override
    def revoke_key(self, tenant_id: str, key_id: str) -> None:
        self._ask("DELETE", f"/tenants/{_part(tenant_id)}/api-keys/{_part(key_id)}")

    @override
    def usage(self, tenant_id: str) -> Json:
        return self._ask("GET", f"/tenants/{_part(tenant_id)}/usage")

    @override
    def set_limits(self, tenant_id: str, changes: Json) -> Json:
        return self._operate("PATCH", f"/tenants/{_part(tenant_id)}/limits", body=changes)

    @override
    def subscription(self, tenant_id: str) -> Json:
        return self._ask("GET", f"/tenants/{_part(tenant_id)}/subscription")

    @override
    def subscribe(self, tenant_id: str, changes: Json) -> Json:
        return self._operate("PATCH", f"/tenants/{_part(tenant_id)}/subscription", body=changes)

    @override
    def sources(self) -> list[Json]:
        return list(self._pages("/sources", {}, PAGE, self._operator))

    @override
    def add_source(self, source: Json) -> Json:
        return self._operate("POST", "/sources", body=source)

    @override
    def remove_source(self, table: str) -> None:
        self._operate("DELETE", f"/sources/{_part(table)}")

    @override
    def templates(self) -> list[Json]:
        return list(self._pages("/pipelines/templates", {}, PAGE, self._caller))

    @override
    def template(self, ref: str) -> Json:
        return self._ask("GET", f"/pipelines/templates/{quote(ref)}")

    @override
    def schedules(self, tenant_id: str) -> list[Json]:
        return list(self._pages(_schedules(tenant_id), {}, PAGE, self._caller))

    @override
    def schedule(self, tenant_id: str, config_id: str) -> Json:
        return self._ask("GET", _schedules(tenant_id, config_id))

    @override
    def add_schedule(self, tenant_id: str, wanted: Json) -> Json:
        return self._ask("POST", _schedules(tenant_id), body=wanted)

    @override
    def change_schedule(self, tenant_id: str, config_id: str, changes: Json) -> Json:
        return self._ask("PATCH", _schedules(tenant_id, config_id), body=changes)

    @override
    def remove_schedule(self, tenant_id: str, config_id: str) -> None:
        self._ask("DELETE", _schedules(tenant_id, config_id))

    @override
    def trigger(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        path = f"/pipelines/run/{_part(tenant_id)}/{quote(ref)}"
        return self._ask("POST", path, body=wanted)

    @override
    def plan(self, tenant_id: str, ref: str, wanted: Json) -> Json:
        path = f"/pipelines/templates/{quote(ref)}/plan"
        return self._ask("POST", path, params=_of(tenant_id), body=wanted)

    @override
    def is_alone(self) -> bool:
        return False

    @override
    def follow(self, run_id: str, tell: Tell) -> Json:
        return follow_events(self, run_id, tell)

    @override
    def events(self, run_id: str, *, follow: bool = False) -> Iterator[Json]:
        """A stream that breaks is taken up where it broke; Unavailable when it stays away."""
        path = f"/pipelines/runs/{_part(run_id)}"
        if not follow:
            yield from self._logs(f"{path}/logs")
            return
        after, since = 0, time.monotonic()
        while time.monotonic() - since < PATIENT_SECONDS:
            try:
                for event in self._stream(f"{path}/events", after):
                    after, since = event["sequence"], time.monotonic()
                    yield event
                    if ends_run(event):
                        return
            except _OverError:
                return
            except (httpx2.HTTPError, Unavailable) as error:
                if after == 0:
                    raise self._unreachable(error) from error
            time.sleep(PAUSE_SECONDS)
        raise self._unreachable("its stream of events broke, and cannot be taken up again")

    @override
    def cancel(self, run_id: str) -> Json:
        return self._ask("POST", f"/pipelines/runs/{_part(run_id)}/cancel")

    @override
    def retry(self, run_id: str, wanted: Json) -> Json:
        return self._ask("POST", f"/pipelines/runs/{_part(run_id)}/retry", body=wanted)

    @override
    def run(self, run_id: str) -> Json:
        return self._ask("GET", f"/pipelines/runs/{_part(run_id)}")

    @override
    def runs(self, tenant_id: str | None, chosen: Json, *, limit: int) -> list[Json]:
        return list(self._pages("/pipelines/runs", _of(tenant_id) | chosen, limit, self._caller))

    @override
    def costs(self, tenant_id: str, question: Json) -> Json:
        return self._ask("GET", "/costs", params=_of(tenant_id) | question)

    @override
    def restatements(self, tenant_id: str, chosen: Json, *, limit: int) -> list[Json]:
        params = _of(tenant_id) | chosen
        return list(self._pages("/costs/restatements", params, limit, self._caller))

    @override
    def reconciliation(self, tenant_id: str, chosen: Json) -> list[Json]:
        params = _of(tenant_id) | chosen
        items: list[Json] = self._ask("GET", "/costs/reconciliation", params=params)["items"]
        return items

    @override
    def query(self, tenant_id: str | None, sql: str) -> Json:
        return self._ask("POST", "/query", params=_of(tenant_id), body={"sql": sql})

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

    def _operate(self, method: str, path: str, body: Json | None = None) -> Json:
        return self._send(method, path, json=body, headers=self._operator)

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


def follow_events(client: Client, run_id: str, tell: Tell) -> Json:
    """Tell of a run until it is over; the run with its steps."""
    for event in client.events(run_id, follow=True):
        tell(event)
    return client.run(run_id)


def ends_run(event: Json) -> bool:
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


def _schedules(tenant_id: str, *config_id: str) -> str:
    return "/".join((f"/tenants/{_part(tenant_id)}/schedules", *map(_part, config_id)))


def _part(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _of(tenant_id: str | None) -> Json:
    return {} if tenant_id is None else {"tenant_id": tenant_id}


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
