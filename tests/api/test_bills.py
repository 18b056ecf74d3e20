"""Restatements and the reconciliation over HTTP."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from convergence.engine import reconcile
from convergence.engine.costs import Asker
from convergence.engine.execute import Executor
from convergence.engine.lineage import trace
from convergence.engine.service import Service
from convergence.errors import Cancelled
from convergence.model.cancel import CancelToken
from convergence.model.cost import CostQuery
from convergence.server import MOST_QUERIES
from tests.conftest import HEADER, export_line

OLD, YOUNG = "2024-10-01", "2024-11-04"
RUN = "/api/v1/pipelines/run/acme/gcp/cost/cost_sync"
FIELDS = (
    "usage_date invoice_month service_id project_id currency old_cost new_cost old_credits "
    "new_credits reason run_id recorded_at old_run_id source"
)


@pytest.fixture
def synced(acme: TestClient, service: Service, source: str, tmp_path: Path) -> TestClient:
    """A first load, then late rows of two days."""
    folder = tmp_path / "export"
    folder.mkdir(exist_ok=True)
    for name, cost in (("a.csv", "1.5"), ("b.csv", "0.25")):
        rows = [export_line(day, cost, "-0.5", day[:4] + day[5:7]) for day in (OLD, YOUNG)]
        (folder / name).write_text("\n".join([HEADER, *rows]) + "\n")
        run_id = acme.post(RUN, json={"date": "2024-11-05"}).json()["pipeline_logging_id"]
        Executor(service=service, worker="test").walk("acme", run_id)
    return acme


def test_restatements_are_listed_in_parts(synced: TestClient) -> None:
    whole = synced.get("/api/v1/costs/restatements").json()
    assert [item["usage_date"] for item in whole["items"]] == [YOUNG, OLD]
    assert list(whole["items"][0]) == FIELDS.split()
    assert whole["items"][1]["old_cost"] == "1.500000000"
    assert whole["items"][1]["new_cost"] == "1.750000000"
    assert [item["reason"] for item in whole["items"]] == ["arriving", "late_row"]
    late = whole["items"][1]
    assert late["source"].startswith("billing.exports.")
    assert late["old_run_id"] not in {None, late["run_id"]}
    first = synced.get("/api/v1/costs/restatements?limit=1").json()
    rest = synced.get(
        "/api/v1/costs/restatements", params={"limit": 1, "cursor": first["next_cursor"]}
    ).json()
    assert first["items"] + rest["items"] == whole["items"]
    assert rest["next_cursor"] is None


def test_restatements_are_chosen(synced: TestClient) -> None:
    counts = {
        "from=2024-11-01": 1,
        "to=2024-10-31": 1,
        "since=2024-11-05": 2,
        "since=2025-01-01": 0,
    }
    path = "/api/v1/costs/restatements"
    assert counts == {asked: len(synced.get(f"{path}?{asked}").json()["items"]) for asked in counts}


def test_the_bill_is_reconciled(synced: TestClient) -> None:
    items = synced.get("/api/v1/costs/reconciliation").json()["items"]
    assert [(item["invoice_month"], item["is_equal"]) for item in items] == [
        ("202410", True),
        ("202411", True),
    ]
    assert items[0]["state"] == "settling"
    one = synced.get("/api/v1/costs/reconciliation?invoice_month=202411").json()["items"]
    assert one == items[1:]


def test_costs_say_how_far_they_go(synced: TestClient) -> None:
    answer = synced.get("/api/v1/costs?group_by=day").json()
    assert (answer["fresh_at"], answer["complete_to"]) == ("2024-11-04T05:00:00Z", "2024-11-02")
    assert [item["is_complete"] for item in answer["items"]] == [True, False]
    assert answer["incomplete_days"] == []
    earlier = synced.get("/api/v1/costs?as_of=2024-11-04").json()
    assert (earlier["items"], earlier["first_loaded_at"]) == ([], answer["first_loaded_at"])


def test_a_day_that_could_not_be_loaded_is_incomplete(
    synced: TestClient, service: Service, tmp_path: Path
) -> None:
    (tmp_path / "export" / "b.csv").unlink()
    run_id = synced.post(RUN, json={"date": "2024-11-05"}).json()["pipeline_logging_id"]
    Executor(service=service, worker="test").walk("acme", run_id)
    answer = synced.get("/api/v1/costs?group_by=day").json()
    assert [item["is_complete"] for item in answer["items"]] == [False, False]
    assert [(day["day"], day["code"], day["run_id"]) for day in answer["incomplete_days"]] == [
        (day, "source_shrank", run_id) for day in (OLD, YOUNG)
    ]


@pytest.mark.parametrize(
    "path",
    [
        "restatements?since=soon",
        "restatements?since=2024-11-05T08:00:00",
        "restatements?since=0001-01-01",
        "restatements?cursor=x",
        "restatements?from=1",
        "restatements?x=1",
        "reconciliation?invoice_month=2024-11",
    ],
)
def test_a_wrong_question_of_the_bill_is_422(acme: TestClient, path: str) -> None:
    assert acme.get(f"/api/v1/costs/{path}").status_code == 422


def test_questions_about_costs_take_turns_unless_their_answer_is_kept(synced: TestClient) -> None:
    kept = "?group_by=sku"
    assert synced.get(f"/api/v1/costs{kept}").status_code == 200
    turns = synced.app.state.cdp.queries  # type: ignore[attr-defined]
    with ExitStack() as under_way:
        for _ in range(MOST_QUERIES):
            under_way.enter_context(turns.of("acme"))
        answers = {
            path: synced.get(f"/api/v1/costs{path}").status_code
            for path in (kept, "?group_by=day", "/reconciliation", "/lineage")
        }
    assert answers == {kept: 200, "?group_by=day": 429, "/reconciliation": 429, "/lineage": 429}
    assert synced.get("/api/v1/costs/lineage").status_code == 200


def test_a_client_that_has_gone_ends_its_questions(synced: TestClient, service: Service) -> None:
    token = CancelToken()
    token.trip(Cancelled("gone"))
    gone = Asker(cancel=token)
    question = CostQuery(date_from=date.min, date_to=date.max)
    questions: list[Callable[[], object]] = [
        lambda: reconcile.bill(service, "acme", question, asker=gone),
        lambda: reconcile.reconciliation(service, "acme", None, gone),
        lambda: trace(service, "acme", question, limit=1, asker=gone),
    ]
    for ask in questions:
        with pytest.raises(Cancelled, match="gone"):
            ask()


@pytest.mark.parametrize("edge", ["0001-01-01", "9999-12-31", "0001-01-01T00:00:00+14:00"])
def test_a_bill_of_a_moment_at_the_edge_of_the_calendar_is_422(acme: TestClient, edge: str) -> None:
    answer = acme.get("/api/v1/costs", params={"as_of": edge})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_date")


def test_a_tenant_sees_its_own_bill_alone(synced: TestClient, keys: object) -> None:
    rival = keys.rival  # type: ignore[attr-defined]  # the keys of the other tests
    for path in ("restatements", "reconciliation"):
        own = synced.get(f"/api/v1/costs/{path}", headers=rival)
        assert own.json()["items"] == []
        foreign = synced.get(f"/api/v1/costs/{path}?tenant_id=acme", headers=rival)
        absent = synced.get(f"/api/v1/costs/{path}?tenant_id=nobody", headers=rival)
        assert foreign.status_code == absent.status_code


def in_parts(client: TestClient, **asked: str) -> list[dict[str, str]]:
    """The items of all parts, one by one."""
    found: list[dict[str, str]] = []
    chosen: dict[str, str] = {"limit": "1"} | asked
    while True:
        part = client.get("/api/v1/costs", params=chosen).json()
        found += part["items"]
        if part["next_cursor"] is None:
            return found
        chosen["cursor"] = part["next_cursor"]


def test_costs_are_listed_in_parts_that_make_the_whole(synced: TestClient) -> None:
    for as_of in ("2025-01-01", "2024-11-05"):
        asked = {"group_by": "day,service", "as_of": as_of}
        whole = synced.get("/api/v1/costs", params=asked).json()
        assert (len(whole["items"]), whole["next_cursor"]) == (2, None)
        assert in_parts(synced, **asked) == whole["items"]
        together = synced.get("/api/v1/costs", params=asked | {"limit": "2"}).json()
        assert together == whole


@pytest.mark.parametrize("other", [{"group_by": "day,sku"}, {"filter": "service=6F81"}])
def test_a_part_continues_no_other_question(synced: TestClient, other: dict[str, str]) -> None:
    asked = {"group_by": "day,service", "limit": "1"}
    first = synced.get("/api/v1/costs", params=asked).json()
    answer = synced.get("/api/v1/costs", params=asked | other | {"cursor": first["next_cursor"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


def test_parts_of_costs_are_of_one_bill(
    synced: TestClient, service: Service, tmp_path: Path
) -> None:
    asked = {"group_by": "day", "limit": "1"}
    first = synced.get("/api/v1/costs", params=asked).json()
    late = [HEADER, export_line(OLD, "4", "", "202410")]
    (tmp_path / "export" / "c.csv").write_text("\n".join(late) + "\n")
    run_id = synced.post(RUN, json={"date": "2024-11-05"}).json()["pipeline_logging_id"]
    Executor(service=service, worker="test").walk("acme", run_id)
    answer = synced.get("/api/v1/costs", params=asked | {"cursor": first["next_cursor"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "bill_changed")
    assert "begin again" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"limit": "0"}, "invalid_request"),
        ({"limit": "1001"}, "invalid_request"),
        ({"limit": "5", "format": "csv"}, "invalid_format"),
        ({"cursor": "what"}, "invalid_cursor"),
    ],
)
def test_parts_that_cannot_be_are_refused(
    acme: TestClient, asked: dict[str, str], code: str
) -> None:
    answer = acme.get("/api/v1/costs", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
