"""Servers and workers as programs: who executes what, who is refused, who goes on."""

import shutil

import httpx2
import pytest

from tests.conftest import HEADER, export_line
from tests.fleet.conftest import Ground
from tests.fleet.force import check_paused_worker
from tests.fleet.machines import ADMIN, ROOT, Caller, Fleet, Process, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.kills, pytest.mark.timeout(600)]


def test_loads_and_questions_are_for_the_home_with_the_files(
    fleet: Fleet, server: Process, acme: Caller, ground: Ground
) -> None:
    _grant_export(fleet, server, acme.tenant, ("2024-11-01", "1.5", "", "202411"))
    load = acme.accepted(server.url, 0, "gcp/cost/cost_billing")
    holder = fleet.serve_with_files()
    other = fleet.work_and_answer()
    mail = acme.accepted(server.url, 1)
    wait_until(lambda: fleet.live(acme.tenant) == 0)
    run = acme.client.get(f"{server.url}/api/v1/pipelines/runs/{load}").json()
    assert run["status"] == "COMPLETED", run["error"]
    assert ground.sink.delivered[mail] == 1
    elsewhere = acme.client.get(f"{server.url}/api/v1/costs")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (503, "warehouse_elsewhere")
    assert "Retry-After" not in elsewhere.headers
    assert acme.client.get(f"{server.url}/health/ready").status_code == 200
    assert acme.client.get(f"{holder.url}/api/v1/costs").json()["items"][0]["cost"] == "1.500000000"
    assert "another home has the tenants' tables" in other.said()
    assert httpx2.get(f"{other.url}/health").json()["status"] == "healthy"
    assert "pipeline_executions_total" in httpx2.get(f"{other.url}/metrics", headers=ADMIN).text
    assert httpx2.get(f"{other.url}/api/v1/tenants", headers=ADMIN).status_code == 404


def test_a_second_process_in_a_home_is_refused(fleet: Fleet, server: Process) -> None:
    refused = fleet.start("worker", home=server.home)
    assert refused.wait() == 1
    assert f"is in use by process {server.popen.pid}" in refused.said()


def test_another_pepper_is_refused(fleet: Fleet) -> None:
    refused = fleet.start("worker", CDP_PEPPER="another pepper, by mistake")
    assert refused.wait() == 1
    assert "This process's pepper is not the one" in refused.said()
    assert "CDP_PEPPER" in refused.said()


def test_a_database_that_is_down_is_said_at_the_start(fleet: Fleet) -> None:
    nowhere = f"postgresql+psycopg://cdp@/cdp?host={fleet.folder}"
    refused = fleet.start("worker", CDP_DATABASE_URL=nowhere)
    assert refused.wait() == 6
    assert "The control store" in refused.said()
    assert "CDP_DATABASE_URL" in refused.said()


def test_a_stopped_worker_hands_over_at_once(
    fleet: Fleet, server: Process, acme: Caller, ground: Ground
) -> None:
    """The step waits for the mail server longer than the stop waits for the step."""
    first = fleet.work()
    ground.sink.hold()
    run_id = acme.accepted(server.url, 1)
    wait_until(lambda: ground.sink.holds(run_id))
    first.stop()
    ((waiting,),) = fleet.query(
        "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = :id", id=run_id
    )
    assert waiting == "ENQUEUED"
    assert not first.names & fleet.workers()
    ground.sink.release()
    fleet.work()
    wait_until(lambda: fleet.live(acme.tenant) == 0)
    (run,) = fleet.runs(acme.tenant)
    assert (run.attempt, run.status) == (2, "COMPLETED")


def test_what_a_paused_worker_writes_after_its_lease_is_refused(
    fleet: Fleet, acme: Caller, ground: Ground
) -> None:
    check_paused_worker(ground, acme, runs=5)


def _grant_export(
    fleet: Fleet, server: Process, tenant: str, *rows: tuple[str, str, str, str]
) -> None:
    """An export of these rows for the tenant, and the template that loads it."""
    shutil.copytree(ROOT / "configs/gcp", fleet.folder / "configs/gcp", dirs_exist_ok=True)
    export = fleet.folder / tenant
    export.mkdir()
    lines = [HEADER, *(export_line(*row) for row in rows)]
    (export / "a.csv").write_text("\n".join(lines) + "\n")
    source = {"table": "local.billing.export", "files": f"{export}/*.csv", "tenants": [tenant]}
    added = httpx2.post(f"{server.url}/api/v1/sources", json=source, headers=ADMIN)
    assert added.status_code < 300, added.text
