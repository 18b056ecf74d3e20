import pytest

from convergence.model.run import Status
from convergence.store import fleet, runs
from convergence.store.database import Database, WriteTx
from tests.store.conftest import NOW, add_tenant, make_run, make_tenant


def marks(tx: WriteTx) -> list[tuple[str, str | None, int]]:
    return [(mark.tenant_id, mark.run_id, mark.version) for mark in fleet.dirty(tx, 99)]


def test_tenants_come_in_pages_by_id(tx: WriteTx) -> None:
    add_tenant(tx, "third")
    assert fleet.tenants(tx, limit=2, after=None) == [make_tenant("acme"), make_tenant("other")]
    assert fleet.tenants(tx, limit=2, after="other") == [make_tenant("third")]


def test_live_runs_are_counted_by_tenant_and_status(tx: WriteTx) -> None:
    for number, tenant_id in enumerate(("acme", "acme", "acme", "other")):
        runs.insert(tx, make_run(f"r{number}", tenant_id, parameter_hash=str(number)))
    runs.claim(tx, "acme", "r0", worker="w", now=NOW)
    runs.finish(tx, "acme", "r1", attempt=0, status=Status.FAILED, now=NOW)
    assert fleet.status_counts(tx) == {
        ("acme", Status.RUNNING): 1,
        ("acme", Status.PENDING): 1,
        ("other", Status.PENDING): 1,
    }
    assert list(fleet.live_runs(tx)) == ["r0", "r2", "r3"]


def test_marks_wait_in_the_order_they_were_first_made(tx: WriteTx) -> None:
    runs.insert(tx, make_run("r1"))
    runs.claim(tx, "acme", "r1", worker="w", now=NOW)
    fleet.mark_dirty(tx, "acme", None)
    assert marks(tx) == [("acme", None, 2), ("other", None, 1), ("acme", "r1", 2)]
    assert [mark.tenant_id for mark in fleet.dirty(tx, 1)] == ["acme"]
    assert [mark.tenant_id for mark in fleet.dirty(tx, 9, but={"acme"})] == ["other"]


def test_a_mark_that_was_made_again_is_not_cleaned(tx: WriteTx) -> None:
    read, other = fleet.dirty(tx, 99)
    fleet.mark_dirty(tx, "acme", None)
    fleet.clean(tx, [read, other])
    assert marks(tx) == [("acme", None, 2)]


def test_a_mark_made_after_a_cleaning_is_not_taken_for_the_old_one(tx: WriteTx) -> None:
    for mark in fleet.dirty(tx, 99):
        fleet.clean(tx, [mark])
        fleet.mark_dirty(tx, mark.tenant_id, mark.run_id)
        fleet.clean(tx, [mark])
    assert marks(tx) == [("acme", None, 1), ("other", None, 1)]


@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgres"])
def test_a_mark_being_made_right_now_is_neither_cleaned_nor_waited_for(
    database: Database,
) -> None:
    with database.write() as tx:
        add_tenant(tx, "acme")
    with database.write() as marking:
        (mark,) = fleet.dirty(marking, 9)
        fleet.mark_dirty(marking, "acme", None)
        with database.write() as cleaning:
            fleet.clean(cleaning, [mark])
    with database.write() as tx:
        assert marks(tx) == [("acme", None, 2)]
