"""What happens in runs, on the command line and through a server that breaks and stops."""

import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from convergence.cli.logs import Growing
from convergence.client import HttpClient
from tests.cli.conftest import DAY, ROOT, TEMPLATE, Cdp, Server, onboard, serve

STREAMS = 100
LOUD = "Cancel"
"""How the server's log begins to say that it did not wait any longer."""


@pytest.fixture
def run_id(acme: Cdp) -> str:
    """A run that waits for somebody to execute it."""
    left = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--no-wait", "--json")
    return str(left.json["pipeline_logging_id"])


def test_a_run_tells_on_stderr_what_it_does(acme: Cdp) -> None:
    ended = acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    assert "step extract_billing_costs is RUNNING\n" in ended.err
    assert "  extract_billing_costs: published 2 rows of billing_cost_daily" in ended.err
    assert "step extract_billing_costs is COMPLETED\n" in ended.err


def test_logs_of_a_run_are_lines_for_a_person_or_for_a_program(acme: Cdp, run_id: str) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    lines = acme("runs", "logs", run_id).out.splitlines()
    assert lines[0].endswith("INFO    run accepted")
    assert lines[-1].endswith("INFO    run completed")
    events = [
        json.loads(line)
        for line in acme("runs", "logs", run_id, "-o", "jsonl").out.split("\n")[:-1]
    ]
    assert [event["sequence"] for event in events] == list(range(1, len(lines) + 1))
    assert acme("runs", "logs", run_id, "--json").json == events
    assert acme("runs", "logs", run_id, "--level", "error").out == ""
    assert acme("runs", "logs", "no-such-run").code == 4


def test_watching_a_run_that_failed_exits_1(acme: Cdp, run_id: str, export: Path) -> None:
    (export / "a.csv").unlink()
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    watched = acme("runs", "watch", run_id)
    assert watched.code == 1
    assert "run failed: extract_billing_costs: " in watched.out
    assert watched.err.startswith(f"error: run {run_id} is FAILED")


def test_watching_through_a_server_ends_with_the_run(
    server: Server, cdp: Cdp, export: Path
) -> None:
    onboard(cdp, export, "watched")
    asked = cdp("run", TEMPLATE, "-t", "watched", "--date", DAY, "--no-wait", "--json").json
    watched = cdp("runs", "watch", asked["pipeline_logging_id"], "-o", "jsonl")
    assert watched.code == 0, watched.err
    events = [json.loads(line) for line in watched.out.splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["status"] == "COMPLETED"


def test_watching_on_a_terminal_draws_the_run_with_its_steps(acme: Cdp, run_id: str) -> None:
    acme("run", TEMPLATE, "-t", "acme", "--date", DAY)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "convergence", "runs", "watch", run_id],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"},
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as watching:
        os.close(theirs)
        drawn = b"".join(_read(ours))
        os.close(ours)
    assert watching.returncode == 0
    assert f"COMPLETED  {DAY}  {run_id}  acme".encode() in drawn
    assert b"COMPLETED  extract_billing_costs          2" in drawn
    assert b"\x1b[1A" in drawn


def _read(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal; Linux says with an error that it is closed."""
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            yield part


def test_the_log_of_the_service_is_filtered(acme: Cdp, home: Path, export: Path) -> None:
    (export / "a.csv").unlink()
    run = acme("run", TEMPLATE, "-t", "acme", "--date", DAY, "--json").json
    run_id = run["pipeline_logging_id"]
    found = acme("logs", "--run", run_id, "--level", "error", "--json").json
    assert {record["run_id"] for record in found} == {run_id}
    assert {record["severity"] for record in found} == {"ERROR"}
    assert "step failed" in acme("logs", "-n", "500").out
    assert acme("logs", "--tenant", "nobody").out == ""
    assert acme("logs", "--server", "http://127.0.0.1:9").code == 2
    (home / "logs" / "cdp.log").unlink()
    assert acme("logs").code == 4


def test_the_log_is_followed_when_its_file_is_put_away(tmp_path: Path) -> None:
    path = tmp_path / "cdp.log"
    path.write_text('{"n": 1}\n{"n": 2}\n{"n"')
    growing = Growing(path)
    assert [record["n"] for record in growing.news()] == [1, 2]
    with path.open("a") as file:
        file.write(": 3}\nno record\n")
    path.rename(tmp_path / "cdp.log.1")
    path.write_text('{"n": 4}\n')
    assert [record["n"] for record in growing.news()] == [3, 4]
    assert [record["n"] for record in Growing(path).news()] == [1, 2, 3, 4]


def test_a_server_that_was_killed_loses_and_doubles_no_event(
    acme: Cdp, run_id: str, home: Path
) -> None:
    first = serve(home, "--no-worker")
    port = str(urlsplit(first.url).port)
    key = (home / "admin.key").read_text().strip()
    client = HttpClient(first.url, api_key=None, admin_key=key)
    told: list[int] = []
    has_begun = threading.Event()

    def follow() -> None:
        for event in client.events(run_id, follow=True):
            told.append(event["sequence"])
            has_begun.set()

    following = threading.Thread(target=follow)
    following.start()
    assert has_begun.wait(30)
    first.process.kill()
    first.process.communicate()
    second = serve(home, "--port", port)
    following.join(60)
    second.stop()
    client.close()
    expected = [event["sequence"] for event in acme("runs", "logs", run_id, "--json").json]
    assert len(expected) > 4
    assert told == expected


def test_a_server_stops_with_open_streams_and_answers_beside_them(
    acme: Cdp, run_id: str, home: Path
) -> None:
    server = serve(home, "--no-worker")
    key = (home / "admin.key").read_text().strip()
    address = urlsplit(server.url)
    path = f"/api/v1/pipelines/runs/{run_id}/events"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Admin-Key: {key}\r\n\r\n".encode()
    with ExitStack() as stack:
        streams = []
        for _ in range(STREAMS):
            stream = socket.create_connection((address.hostname, address.port), timeout=60)
            streams.append(stack.enter_context(stream))
            stream.sendall(request)
        for stream in streams:
            assert any(b"run accepted" in part for part in _parts(stream))
        assert acme("runs", "show", run_id, "--json").json["status"] == "PENDING"
        stopped = server.stop()
        assert stopped.code == 0, stopped.err
        assert all(list(_parts(stream))[-1].endswith(b"0\r\n\r\n") for stream in streams)
    assert LOUD not in (home / "logs" / "cdp.log").read_text()


def _parts(stream: socket.socket) -> Iterator[bytes]:
    while part := stream.recv(65536):
        yield part
