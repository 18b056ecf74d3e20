"""Idempotency-Key: a request that is sent again is not done again."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from convergence.engine import once
from convergence.engine.forget import forget
from convergence.engine.service import Service
from convergence.errors import Conflict, Unavailable
from convergence.model.reply import ABANDONED, KEPT, KeyedRequest, Reply
from convergence.model.run import Status
from convergence.store import fleet, runs, tenants, usage
from convergence.store.tables import idempotency_keys
from tests.api.conftest import RUN, Keys
from tests.fakes import FakeClock

BODY = {"date": "2024-11-01"}
KEYS = "/api/v1/tenants/acme/api-keys"
ONBOARD = "/api/v1/tenants/onboard"
NEW = {"tenant_id": "newcomer", "company_name": "New", "admin_email": "a@example.com"}
REPLAYED = "Idempotency-Replayed"
KEY = {"Idempotency-Key": "k1"}
ASKED = KeyedRequest(tenant_id="acme", route="r", key="k", digest="d")
REPLY = Reply(status=201, body={"made": 1})


def end_all(service: Service) -> None:
    """From here on only a key keeps another run of the same work from being made."""
    now = service.clock.now()
    with service.database.write() as tx:
        for run_id, tenant_id in fleet.live_runs(tx).items():
            runs.finish(tx, tenant_id, run_id, attempt=0, status=Status.CANCELLED, now=now)
            usage.record_finish(tx, tenant_id, now.date(), Status.CANCELLED, now=now)


def made(acme: TestClient) -> int:
    return len(acme.get("/api/v1/pipelines/runs").json()["items"])


def test_a_trigger_with_a_key_is_answered_again_after_its_run_has_ended(
    acme: TestClient, service: Service, source: str
) -> None:
    first = acme.post(RUN, json=BODY, headers=KEY)
    end_all(service)
    again = acme.post(RUN, json=BODY, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert made(acme) == 1


@pytest.mark.parametrize(
    "count", [100, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_many_equal_triggers_get_one_run_and_equal_answers(
    acme: TestClient, source: str, count: int
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: acme.post(RUN, json=BODY, headers=KEY), range(count)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert made(acme) == 1


def test_a_key_may_not_ask_for_two_things(acme: TestClient, source: str) -> None:
    acme.post(RUN, json=BODY, headers=KEY)
    other = acme.post(RUN, json={"date": "2024-11-02"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert made(acme) == 1


def test_a_key_belongs_to_its_tenant_and_route(
    http: TestClient, keys: Keys, service: Service, source: str
) -> None:
    first = http.post(RUN, json=BODY, headers=keys.acme | KEY)
    end_all(service)
    by_id = "/api/v1/tenants/acme/pipelines/acme-gcp-cost-billing/run"
    assert http.post(by_id, json=BODY, headers=keys.acme | KEY).status_code == 202
    end_all(service)
    operators = http.post(RUN, json=BODY, headers=keys.admin | KEY)
    assert operators.status_code == 202
    assert operators.json() != first.json()


def test_a_refused_trigger_leaves_its_key_free(
    acme: TestClient, service: Service, source: str
) -> None:
    with service.database.read() as tx:
        plan = tenants.limits(tx, "acme")
    limits, now = "/api/v1/tenants/acme/limits", service.clock.now()
    admin = {"X-Admin-Key": service.secrets.admin_key}
    del acme.headers["X-API-Key"]
    acme.headers.update(admin)
    acme.patch(limits, json={"daily_limit": 0})
    refused = acme.post(RUN, json=BODY, headers=KEY)
    acme.patch(limits, json={"daily_limit": plan.daily_limit})
    accepted = acme.post(RUN, json=BODY, headers=KEY)
    assert (refused.status_code, accepted.status_code) == (429, 202)
    with service.database.read() as tx:
        row = usage.row(tx, "acme", now.date())
    assert row is not None
    assert (row.pipelines_run_today, row.quota_exceeded) == (1, False)


@pytest.mark.parametrize("key", ["", "ü", "a b", "x" * 256])
def test_a_key_that_is_none_is_refused(acme: TestClient, source: str, key: str) -> None:
    answer = acme.post(RUN, json=BODY, headers={b"Idempotency-Key": key.encode()})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_replay_shows_no_key(acme: TestClient) -> None:
    first = acme.post(KEYS, json={"key_name": "second"}, headers=KEY)
    again = acme.post(KEYS, json={"key_name": "second"}, headers=KEY)
    assert (again.status_code, again.headers[REPLAYED]) == (201, "true")
    assert again.json() == first.json() | {"api_key": None}
    assert first.json()["api_key"]
    assert len(acme.get(KEYS).json()["items"]) == 2


def test_a_tenant_is_onboarded_once(http: TestClient, keys: Keys) -> None:
    answers = [http.post(ONBOARD, json=NEW, headers=keys.admin | KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert http.post(ONBOARD, json=NEW, headers=keys.admin).status_code == 409


def test_every_route_that_creates_declares_the_header(http: TestClient) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    declared = {
        operation["operationId"]
        for path in paths.values()
        for operation in path.values()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    }
    created = {
        operation["operationId"]
        for path in paths.values()
        for method, operation in path.items()
        if method == "post" and {"201", "202"} & operation["responses"].keys()
    }
    # None of these needs a key: a link is good once by itself, a cancel is safe to repeat, and a
    # second backup is only a copy more.
    assert declared == created - {"make_sign_in_link", "cancel_run", "make_backup"}


def test_while_the_first_is_under_way_the_second_is_told_to_come_again(
    acme: TestClient, service: Service
) -> None:
    def act() -> Reply:
        with pytest.raises(Conflict) as caught:
            once.once(service, ASKED, act)
        assert caught.value.code == "request_in_flight"
        return REPLY

    assert once.once(service, ASKED, act) == REPLY


def test_what_failed_may_be_tried_again(service: Service) -> None:
    def fail() -> Reply:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        once.once(service, ASKED, fail)
    assert not once.once(service, ASKED, lambda: REPLY).is_replay
    assert once.once(service, ASKED, fail) == Reply(status=201, body={"made": 1}, is_replay=True)


def test_who_lost_a_key_by_taking_too_long_leaves_it_to_the_one_who_has_it(
    service: Service, clock: FakeClock
) -> None:
    def fail() -> Reply:
        clock.advance(seconds=ABANDONED.total_seconds())
        once.once(service, ASKED, lambda: REPLY)
        raise Unavailable("away, after all")

    with pytest.raises(Unavailable):
        once.once(service, ASKED, fail)
    assert once.once(service, ASKED, fail) == replace(REPLY, is_replay=True)


def test_who_takes_long_keeps_the_key_meanwhile(
    service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "RENEW_SECONDS", 0.01)

    def take_long() -> Reply:
        for _ in range(3):
            clock.advance(seconds=ABANDONED.total_seconds() - 10)
            moment = clock.now()
            while taken_at(service) < moment:
                time.sleep(0.01)
        with pytest.raises(Conflict):
            once.once(service, ASKED, lambda: REPLY)
        return REPLY

    assert once.once(service, ASKED, take_long) == REPLY
    assert once.once(service, ASKED, take_long).is_replay


def taken_at(service: Service) -> datetime:
    with service.database.read() as tx:
        (taken,) = tx.connection.execute(sa.select(idempotency_keys.c.taken_at)).scalars()
    assert isinstance(taken, datetime)
    return taken


def test_an_answer_that_comes_too_late_replaces_none(service: Service, clock: FakeClock) -> None:
    def be_late() -> Reply:
        clock.advance(seconds=ABANDONED.total_seconds())
        once.once(service, ASKED, lambda: REPLY)
        return replace(REPLY, body={"made": 2})

    once.once(service, ASKED, be_late)
    assert once.once(service, ASKED, be_late) == replace(REPLY, is_replay=True)


def test_a_retry_with_a_key_is_answered_again_after_its_run_has_ended(
    acme: TestClient, service: Service, source: str
) -> None:
    run_id = acme.post(RUN, json=BODY).json()["pipeline_logging_id"]
    end_all(service)
    retry = f"/api/v1/pipelines/runs/{run_id}/retry"
    first = acme.post(retry, headers=KEY)
    end_all(service)
    again = acme.post(retry, headers=KEY)
    assert (first.status_code, again.status_code, again.headers[REPLAYED]) == (202, 202, "true")
    assert again.json() == first.json()
    assert made(acme) == 2


def test_a_key_is_free_when_its_request_has_died_or_its_answer_is_old(
    service: Service, clock: FakeClock
) -> None:
    def die() -> Reply:
        clock.advance(seconds=ABANDONED.total_seconds())
        return once.once(service, ASKED, lambda: REPLY)

    assert once.once(service, ASKED, die) == REPLY
    clock.advance(hours=47, minutes=59)
    forget(service)
    assert once.once(service, ASKED, lambda: REPLY).is_replay
    clock.advance(minutes=1)
    assert not once.once(service, ASKED, lambda: REPLY).is_replay
    clock.advance(hours=KEPT.total_seconds() / 3600)
    forget(service)
    with service.database.read() as tx:
        assert tx.connection.execute(sa.select(idempotency_keys)).all() == []
