import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from typing_extensions import override

from convergence.client import HttpClient
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
)
from convergence.outside import remote

Answer = Callable[[str], tuple[int, bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[HttpClient, list[BaseHTTPRequestHandler]]]:
    """A client of a small server that answers as told."""
    seen: list[BaseHTTPRequestHandler] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self)
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        client = HttpClient(url, api_key="tenant-key", admin_key="admin-key")
        try:
            yield client, seen
        finally:
            client.close()
            server.shutdown()


def problem(status: int, **members: object) -> Answer:
    body = {"detail": "what happened", "code": "a_code", "hint": "what to do", **members}
    return lambda _: (status, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (405, Invalid),
        (408, Cancelled),
        (409, Conflict),
        (422, Invalid),
        (429, Unavailable),
        (503, Unavailable),
    ],
)
def test_problem_becomes_the_error_it_was(status: int, kind: type[CdpError]) -> None:
    with answering(problem(status)) as (client, _), pytest.raises(kind) as raised:
        client.run("r")
    assert (raised.value.detail, raised.value.code) == ("what happened", "a_code")
    assert raised.value.hint == "what to do"


def test_fault_of_the_server_names_the_request() -> None:
    answer = problem(500, hint="", request_id="req-1")
    with answering(answer) as (client, _), pytest.raises(Unavailable) as raised:
        client.run("r")
    assert "req-1" in raised.value.hint


def test_quota_comes_back_whole() -> None:
    members = {
        "code": "quota_exceeded.daily",
        "quota_type": "daily",
        "current_usage": 6,
        "limit": 6,
        "reset_at": "2025-03-02T00:00:00Z",
    }
    with answering(problem(429, **members)) as (client, _), pytest.raises(QuotaExceeded) as raised:
        client.run("r")
    assert (raised.value.kind, raised.value.limit) == ("daily", 6)
    assert raised.value.reset_at is not None


def test_faults_come_back_with_their_place() -> None:
    faults = [{"message": "no", "file": "t.yml", "line": 3, "column": 1, "new_member": 1}]
    answer = problem(422, errors=faults)
    with answering(answer) as (client, _), pytest.raises(Invalid) as raised:
        client.run("r")
    assert str(raised.value.faults[0]) == "t.yml:3:1  no"


def test_something_else_that_answers_is_told() -> None:
    with (
        answering(lambda _: (200, b"<html>")) as (client, _),
        pytest.raises(Unavailable, match="no Convergence server"),
    ):
        client.run("r")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://a", "http://", "http://a:b", "http://[x"])
def test_url_must_be_one(url: str) -> None:
    with pytest.raises(Invalid):
        HttpClient(url, api_key=None, admin_key=None)


def test_list_is_read_in_parts_up_to_the_limit() -> None:
    def answer(path: str) -> tuple[int, bytes]:
        last = "cursor=2" in path
        page = {"items": [{"n": 1}, {"n": 2}], "next_cursor": None if last else "2"}
        return 200, json.dumps(page).encode()

    with answering(answer) as (client, seen):
        assert len(client.runs("acme", {"status": ["FAILED"]}, limit=100)) == 4
        assert len(client.tenants(limit=2)) == 2
    assert "tenant_id=acme" in seen[0].path
    assert "status=FAILED" in seen[0].path


def test_each_question_is_asked_as_who_may_ask_it() -> None:
    page = json.dumps({"items": []}).encode()
    with answering(lambda _: (200, page)) as (client, seen):
        client.runs(None, {}, limit=1)
        client.sources()
    assert seen[0].headers["X-API-Key"] == "tenant-key"
    assert seen[0].headers["X-Admin-Key"] is None
    assert seen[1].headers["X-Admin-Key"] == "admin-key"


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    with answering(lambda _: (200, b"{}")) as (client, seen):
        client.tenant("../sources?x=1")
    assert seen[0].path == "/api/v1/tenants/..%2Fsources%3Fx%3D1"


def event(sequence: int, status: str | None = None) -> bytes:
    """An event of a run as the server sends it."""
    said = {"sequence": sequence, "step_id": None, "status": status}
    return f"event: state\ndata: {json.dumps(said)}\nid: {sequence}\n\n".encode()


def test_a_stream_that_breaks_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0)
    parts = iter(
        [
            (200, b": ping\n\n" + event(1) + event(2)),
            (503, b"{}"),
            (200, event(3, "COMPLETED")),
        ]
    )
    told: list[dict[str, Any]] = []

    def answer(path: str) -> tuple[int, bytes]:
        return next(parts) if path.endswith("/events") else (200, b'{"status": "COMPLETED"}')

    with answering(answer) as (client, seen):
        assert client.follow("r", told.append) == {"status": "COMPLETED"}
    assert [each["sequence"] for each in told] == [1, 2, 3]
    resumed = [request.headers["Last-Event-ID"] for request in seen[:3]]
    assert resumed == ["0", "2", "2"]


def test_a_stream_of_a_run_that_is_over_ends() -> None:
    with answering(lambda _: (204, b"")) as (client, _):
        assert list(client.events("r", follow=True)) == []


def test_a_stream_that_is_refused_says_why() -> None:
    body = json.dumps({"detail": "no such run", "code": "run_not_found"}).encode()
    with answering(lambda _: (404, body)) as (client, _), pytest.raises(NotFound, match="no such"):
        list(client.events("r", follow=True))


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENT_SECONDS", 0.2)
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.01)
    with (
        answering(lambda _: (200, b": ping\n\n")) as (client, _),
        pytest.raises(Unavailable, match="cannot be taken up"),
    ):
        list(client.events("r", follow=True))


def test_what_happened_is_read_in_parts() -> None:
    def answer(path: str) -> tuple[int, bytes]:
        number = 3 if "after=2" in path else 1
        page = {"items": [{"n": number}, {"n": number + 1}], "next_cursor": "2"}
        return 200, json.dumps(page | ({"next_cursor": None} if number == 3 else {})).encode()

    with answering(answer) as (client, _):
        assert [each["n"] for each in client.events("r")] == [1, 2, 3, 4]
