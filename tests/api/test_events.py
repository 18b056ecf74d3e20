"""What happens in a run, over HTTP: as a list, and as a stream that may be resumed."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from convergence.engine.administer import revoke_key
from convergence.engine.service import Service
from convergence.model.key import parse_key
from convergence.model.run import Status
from convergence.store import runs
from tests.api.conftest import RUN, Keys

Json = dict[str, Any]


@pytest.fixture
def run_id(acme: TestClient, source: str) -> str:
    """A run that waits."""
    return str(acme.post(RUN, json={"date": "2024-11-01"}).json()["pipeline_logging_id"])


@pytest.fixture
def ended(service: Service, run_id: str) -> str:
    """The same, FAILED after its first attempt."""
    with service.database.write() as tx:
        now = service.clock.now()
        runs.claim(tx, "acme", run_id, worker="w", now=now)
        runs.finish(
            tx,
            "acme",
            run_id,
            attempt=1,
            status=Status.FAILED,
            now=now,
            error="a\nb",
            error_code="c",
        )
    return run_id


def streamed(text: str) -> list[Json]:
    """The events of a stream: id, event and data of each."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    events: list[Json] = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append({**fields, "data": json.loads(fields["data"])})
    return events


def url(run_id: str, what: str = "events") -> str:
    return f"/api/v1/pipelines/runs/{run_id}/{what}"


def test_a_stream_tells_a_run_from_its_beginning_to_its_end(acme: TestClient, ended: str) -> None:
    answer = acme.get(url(ended))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["X-Request-ID"]
    events = streamed(answer.text)
    assert [(each["id"], each["event"], each["data"]["status"]) for each in events] == [
        ("1", "state", "PENDING"),
        ("2", "state", "RUNNING"),
        ("3", "state", "FAILED"),
    ]
    last = events[-1]["data"]
    assert last["message"] == "run failed: a\nb"
    assert (last["pipeline_logging_id"], last["level"]) == (ended, "ERROR")
    assert last["facts"]["error_code"] == "c"


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_stream_goes_on_after_the_last_event_seen(acme: TestClient, ended: str, how: str) -> None:
    if how == "header":
        answer = acme.get(url(ended), headers={"Last-Event-ID": "2"})
    else:
        answer = acme.get(url(ended), params={"after": 2})
    assert [each["id"] for each in streamed(answer.text)] == ["3"]


def test_nothing_after_the_end_is_204_so_that_a_browser_stops_asking(
    acme: TestClient, ended: str
) -> None:
    for seen in ("3", "99"):
        answer = acme.get(url(ended), headers={"Last-Event-ID": seen})
        assert (answer.status_code, answer.text) == (204, "")


def test_an_empty_last_event_id_is_the_beginning(acme: TestClient, ended: str) -> None:
    answer = acme.get(url(ended), headers={"Last-Event-ID": ""})
    assert len(streamed(answer.text)) == 3


@pytest.mark.parametrize("bad", ["-1", "1.5", "x", "1" * 19, "٣"])
def test_a_last_event_id_that_is_none_of_ours_is_422(
    acme: TestClient, ended: str, bad: str
) -> None:
    answer = acme.get(url(ended), headers={b"Last-Event-ID": bad.encode()})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_run_one_may_not_see_is_a_plain_404(acme: TestClient, keys: Keys, ended: str) -> None:
    absent = "00000000-0000-4000-8000-000000000000"
    for run_id, key in ((ended, keys.rival), (absent, keys.acme), ("x", keys.acme)):
        for what in ("events", "logs"):
            answer = acme.get(url(run_id, what), headers=key)
            assert answer.status_code == 404
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["code"] == "run_not_found"


def test_the_operator_follows_any_run(operator: TestClient, keys: Keys, ended: str) -> None:
    operator.headers.pop("X-API-Key", None)
    answer = operator.get(url(ended), headers=keys.admin)
    assert len(streamed(answer.text)) == 3


def test_head_of_a_stream_ends_at_once(acme: TestClient, run_id: str) -> None:
    answer = acme.head(url(run_id))
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_the_stream_is_described(http: TestClient) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    described = paths["/api/v1/pipelines/runs/{pipeline_logging_id}/events"]["get"]
    assert "text/event-stream" in described["responses"]["200"]["content"]
    names = {parameter["name"] for parameter in described["parameters"]}
    assert {"Last-Event-ID", "after", "pipeline_logging_id"} == names


def test_a_revoked_key_is_told_nothing_more(
    acme: TestClient, keys: Keys, service: Service, app: FastAPI, ended: str
) -> None:
    key = parse_key(keys.acme["X-API-Key"])
    assert key is not None
    feed = app.state.cdp.feed
    check_room = feed.check_room

    def revoke(tenant_id: str) -> None:
        """When the key has been looked at, and nothing was told yet."""
        revoke_key(service, tenant_id, key.key_id)
        check_room(tenant_id)

    feed.check_room = revoke
    assert acme.get(url(ended)).text == ""
    assert acme.get(url(ended)).status_code == 401


def test_events_are_listed_in_parts_and_by_level(acme: TestClient, ended: str) -> None:
    first = acme.get(url(ended, "logs"), params={"limit": 2}).json()
    assert [each["sequence"] for each in first["items"]] == [1, 2]
    rest = acme.get(url(ended, "logs"), params={"after": first["next_cursor"]}).json()
    assert [each["sequence"] for each in rest["items"]] == [3]
    assert rest["next_cursor"] is None
    errors = acme.get(url(ended, "logs"), params={"level": "WARNING"}).json()
    assert [each["message"] for each in errors["items"]] == ["run failed: a\nb"]


@pytest.mark.parametrize("bad", [{"level": "LOUD"}, {"after": "-1"}, {"limit": "0"}, {"x": "1"}])
def test_a_bad_question_for_events_is_422(acme: TestClient, ended: str, bad: Json) -> None:
    assert acme.get(url(ended, "logs"), params=bad).status_code == 422
