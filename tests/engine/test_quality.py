"""Quality checks gate what is published, and what they found is kept, told and shown."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.engine import costs, ledger
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.model.check import Severity
from convergence.model.quality import QualityResult, Verdict
from convergence.model.run import Run, Status
from convergence.store import events, loads, notifications, quality, runs
from tests.engine.conftest import now
from tests.engine.test_loads import DAY, KEY, loaded, run_day
from tests.engine.test_sync import run_sync

Export = Callable[..., Path]
Walk = Callable[..., Run]

SHIPPED = Path(__file__).parents[2] / "configs/gcp/cost"


def results(service: Service, run: Run) -> list[QualityResult]:
    with service.database.read() as tx:
        return quality.of_runs(tx, run.tenant_id, [run.run_id])


def told(service: Service, run: Run) -> str:
    with service.database.read() as tx:
        found = events.page(tx, run.tenant_id, run.run_id, after=0, limit=100)
    return "\n".join(f"{event.level} {event.message}" for event in found)


def own_table(checks: str, query: str = "SELECT 1 AS n, 'a' AS name") -> str:
    """A step that loads a table of the tenant's own under these checks."""
    return (
        f'step_id: load, ps_type: gcp.bq_etl, source: {{query: "{query}"}}, '
        f"destination: {{table: own}}, quality: [{checks}]"
    )


def test_each_load_of_the_bill_passes_the_suite_of_its_table(
    service: Service, export: Export
) -> None:
    export((DAY, "1.5", "-0.25", "202411"))
    run = run_day(service)
    (result,) = results(service, run)
    assert run.status is Status.COMPLETED
    assert (result.verdict, len(result.checks)) == (Verdict.PASS, 24)
    assert [check.name for check in result.failed] == ["regex billing_account_id"]
    with service.database.read() as tx:
        published = loads.published(tx, "acme", KEY)
    assert published is not None
    assert result.load_id == published.load_id


def test_days_loaded_together_are_each_checked_by_themselves(
    service: Service, export: Export
) -> None:
    first, second = "2024-11-01", "2024-11-02"
    usual, dear = ((first, cost, "", "202411") for cost in ("0.5", "1500"))
    path = export(usual, usual, dear, *((second, cost, "", "2024-1") for cost in ("1", "2000")))
    path.write_text(path.read_text().replace("01AB-CD", "01ABCD-01ABCD-01ABCD", 1))
    found = results(service, run_sync(service))
    told = {result.day.day: [(c.name, c.rows_failed) for c in result.failed] for result in found}
    account, month = ("regex billing_account_id", 2), ("regex invoice_month", 2)
    assert told == {1: [account], 2: [month, account]}

    export((second, "1500", "", "202411"), name="late.csv")
    (again,) = results(service, run_sync(service))
    assert [check.name for check in again.failed] == [month[0], account[0], "median of cost"]


def test_usage_of_the_future_is_not_published_and_the_old_rows_stay(
    service: Service, export: Export
) -> None:
    day = "2024-11-05"
    export((day, "1.5", "", "202411"))
    run_day(service, day)
    service.clock.advance(hours=-1)  # type: ignore[attr-defined]  # of the fake
    path = export((day, "2", "", "202411"), name="late.csv")
    path.write_text(path.read_text().replace(f"{day}T00:00", f"{day}T20:00"))
    run = run_day(service, day)
    assert (run.status, run.error_code) == (Status.FAILED, "quality_failed")
    assert "no_future_dates usage_start_time (1 of 2 rows, critical)" in (run.error or "")
    assert loaded(service)[1] == Decimal("1.5")
    (result,) = results(service, run)
    assert (result.verdict, result.load_id) == (Verdict.FAIL, None)
    (sample,) = result.failed[0].samples
    assert sample["usage_start_time"] == "2024-11-05 20:00:00+00:00"


def test_a_critical_failure_is_told_to_the_tenants_people(service: Service, walk: Walk) -> None:
    walk(own_table("{check: range, column: n, min: 2, severity: critical}"))
    with service.database.read() as tx:
        (waiting,) = notifications.newest(tx, "acme", limit=10)
    assert waiting.subject == "[CRITICAL] acme: own of 2024-11-04 failed its checks"
    assert "range n (1 of 1 rows, critical)" in waiting.text


EACH = {
    "{check: not_null, column: name}": "not_null name (1 of 4 rows, warning)",
    "{check: unique, column: n}": "unique n (1 of 4 rows, warning)",
    "{check: unique, columns: [n, name]}": "unique n name (1 of 4 rows, warning)",
    "{check: unique, columns: [n, name], where: n > 1}": "",
    "{check: unique, columns: [day, nothing]}": "",
    "{check: range, column: n, min: 1, max: 2}": "range n (1 of 4 rows, warning)",
    "{check: range, column: n, max: 2, mostly: 0.75}": "",
    "{check: range, column: n, max: 2, mostly: 0.76}": "range n (1 of 4 rows, warning)",
    "{check: range, column: n, max: 2, where: \"name = 'a'\"}": "",
    "{check: accepted_values, column: name, values: [a]}": "accepted_values name (1 of 4 rows, w",
    "{check: regex, column: name, pattern: '^[ab]$'}": "",
    "{check: regex, column: name, pattern: '^\\pL$', where: n < 3}": "",
    "{check: regex, column: name, pattern: a}": "regex name (1 of 4 rows, warning)",
    "{check: row_count, min: 4, max: 4}": "",
    "{check: row_count, min: 5}": "row_count (4 rows, expected at least 5; warning)",
    "{check: row_count, max: 1, where: n = 1}": "row_count (2 rows, expected at most 1; warn",
    "{check: freshness, column: day, max_age_hours: 24}": "freshness day (2024-11-03T",
    "{check: freshness, column: day, max_age_hours: 57}": "",
    "{check: no_future_dates, column: day}": "",
    "{check: currency_single, column: name}": "currency_single name (2 currencies",
    "{check: currency_single, column: name, where: n = 1}": "",
    "{check: custom_sql, name: small, expression: n < 3}": "small (1 of 4 rows, warning)",
    "{check: custom_sql, name: sum, expression: SUM(n) = 7}": "",
    "{check: custom_sql, name: sum, expression: SUM(n) > 7}": "sum (false, expected true",
    "{check: custom_sql, name: day, expression: \"day <= '{date}'\"}": "",
}


def test_each_kind_of_check_counts_the_rows_that_fail(service: Service, walk: Walk) -> None:
    query = (
        "SELECT n, name, DATE '2024-11-03' AS day, IF(n > 3, 'a', NULL) AS nothing "
        "FROM UNNEST([STRUCT(1 AS n, 'a' AS name), (1, 'a'), (2, 'b'), (3, NULL)])"
    )
    run = walk(own_table(", ".join(EACH), query))
    assert run.status is Status.COMPLETED, run.error
    (result,) = results(service, run)
    alone = [replace(result, checks=(check,)).sentence for check in result.checks]
    for sentence, (check, failing) in zip(alone, EACH.items(), strict=True):
        assert (failing or "all 1 quality checks passed") in sentence, check
    assert f"WARNING own of 2024-11-04: {result.sentence}" in told(service, run)
    informing = [replace(check, severity=Severity.INFO) for check in result.checks]
    counted = f"{result.passed_count} of {len(EACH)} quality checks passed"
    assert replace(result, checks=tuple(informing)).sentence == counted


def test_failing_rows_are_kept_short(service: Service, walk: Walk) -> None:
    query = "SELECT n, REPEAT('x', 1000) AS name FROM UNNEST(GENERATE_ARRAY(1, 50)) AS n"
    run = walk(own_table("{check: range, column: n, min: 100}", query))
    (check,) = results(service, run)[0].failed
    assert (check.rows_failed, len(check.samples)) == (50, 20)
    assert {len(str(sample["name"])) for sample in check.samples} == {100}


def test_of_no_rows_only_their_number_is_known(service: Service, export: Export) -> None:
    export(("2024-11-02", "1", "", "202411"))
    run = run_day(service)
    assert run.status is Status.COMPLETED
    (result,) = results(service, run)
    assert [check.name for check in result.failed] == ["row_count"]


def test_a_condition_that_fails_as_it_runs_is_told_and_publishes_nothing(
    service: Service, walk: Walk
) -> None:
    run = walk(own_table("{check: custom_sql, expression: ERROR(name) IS NULL}"))
    assert (run.status, run.error_code) == (Status.FAILED, "quality_broken")
    assert "the quality checks cannot be made" in (run.error or "")


def test_checks_that_take_too_long_are_told_and_publish_nothing(
    service: Service, walk: Walk
) -> None:
    service.config = replace(service.config, query_seconds=0.05)
    array = "UNNEST(GENERATE_ARRAY(1, 10000))"
    endless = f"(SELECT COUNT(*) FROM {array} a, {array} b, {array} c) > n"  # noqa: S608 - constants
    run = walk(own_table(f'{{check: custom_sql, expression: "{endless}"}}'))
    assert (run.status, run.error_code) == (Status.FAILED, "quality_broken")
    assert "a query of the checks took longer than 0.2 s" in (run.error or "")


def test_a_condition_cannot_read_what_the_tenant_may_not(service: Service, walk: Walk) -> None:
    run = walk(own_table("{check: custom_sql, expression: 1 IN (SELECT n FROM other.secrets)}"))
    assert run.error_code == "quality_broken"
    assert "other.secrets is unknown or foreign" in (run.error or "")


@pytest.fixture
def bill(service: Service, export: Export, walk: Walk, tmp_path: Path) -> None:
    """A day of the bill, loaded beside the templates of the test."""
    shutil.copytree(SHIPPED, tmp_path / "configs/gcp/cost")
    export((DAY, "1.5", "-0.25", "202411"))
    run_day(service)


def test_rows_that_are_there_are_checked_by_a_step_of_its_own(
    service: Service, bill: None, walk: Walk
) -> None:
    step = "step_id: check, ps_type: quality.check, table: billing_cost_daily"
    run = walk(f"{step}, quality: [{{check: row_count, min: 1}}], partition_by: ''")
    (result,) = results(service, run)
    assert (run.status, result.verdict, len(result.checks)) == (
        Status.COMPLETED,
        Verdict.PASS,
        25,
    )


def test_rows_that_changed_since_their_load_fail_against_the_source(
    service: Service, bill: None, walk: Walk
) -> None:
    with service.warehouse._instances.lend("acme") as cursor:  # type: ignore[attr-defined]
        cursor.execute("UPDATE acme.billing_cost_daily SET cost = 2")
    step = "step_id: check, ps_type: quality.check, table: billing_cost_daily, partition_by: ''"
    run = walk(step)
    assert (run.status, run.error_code) == (Status.FAILED, "quality_failed")
    assert "loaded 1 rows, cost 2.000000000" in (run.error or "")


def test_a_check_of_a_column_that_is_not_there_names_those_that_are(
    service: Service, export: Export, walk: Walk
) -> None:
    walk(own_table("{check: row_count, min: 1}"))
    step = "step_id: check, ps_type: quality.check, table: own, partition_by: ''"
    run = walk(f"{step}, quality: [{{check: not_null, column: m}}]")
    assert run.error_code == "unknown_column"
    assert "own has no column m" in (run.error or "")


def test_results_are_published_with_the_run(service: Service, walk: Walk) -> None:
    run = walk(own_table("{check: range, column: n, min: 2}"))
    ledger.publish(service)
    sql = (
        "SELECT pipeline_logging_id, target_table, overall_status, expectations_passed, "
        "expectations_failed, JSON_VALUE(failed_expectations, '$[0].name'), ingestion_date "
        "FROM x_meta_dq_results"
    )
    day = date(2024, 11, 4)
    expected = (run.run_id, "own", "WARNING", 0, 1, "range n", day)
    assert costs.query(service, "acme", sql).rows == [expected]


def test_an_older_attempt_keeps_no_result(service: Service, tenant: Onboarded, walk: Walk) -> None:
    run = walk(own_table("{check: row_count, min: 1}"))
    (result,) = results(service, run)
    with service.database.write() as tx:
        assert not quality.record(tx, now(service, run), result)
        assert runs.get(tx, "acme", run.run_id).status is Status.COMPLETED
