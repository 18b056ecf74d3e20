"""Quality checks as authors write them: what is wrong is said at its line and column."""

import pytest

from convergence.errors import Invalid
from convergence.library import parse
from convergence.steps.base import step_models
from convergence.steps.registry import STEP_TYPES

HEAD = """\
pipeline_id: "{tenant_id}-checked"
steps:
  - step_id: load
    ps_type: gcp.bq_etl
    source: {query: SELECT 1}
    destination: {table: billing_cost_daily, schema_template: billing_cost}
    quality:
"""


def refusal(*checks: str, head: str = HEAD) -> list[str]:
    text = head + "".join(f"      - {check}\n" for check in checks)
    with pytest.raises(Invalid) as caught:
        parse(text, file="t.yml", ref="a/b/t", step_models=step_models(STEP_TYPES))
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (
            "{check: not_null, column: costs}",
            "t.yml:8:35  steps[0].quality[0].column: billing_cost_daily has no column costs (try: ",
        ),
        (
            "{check: unique, columns: [sku_id, region]}",
            "t.yml:8:43  steps[0].quality[0].columns[1]: billing_cost_daily has no column region",
        ),
        (
            "{check: row_count, min: 1, where: costt > 0}",
            "t.yml:8:43  steps[0].quality[0].where: billing_cost_daily has no column costt (try: ",
        ),
        ("{check: range, column: cost}", "t.yml:8:9  steps[0].quality[0]: range needs min or max"),
        (
            "{check: range, column: cost, min: 2, max: 1}",
            "t.yml:8:9  steps[0].quality[0]: min 2 is above max 1",
        ),
        ("{check: regex, column: cost}", "t.yml:8:9  steps[0].quality[0]: regex needs pattern"),
        (
            "{check: not_null, column: cost, values: [a]}",
            "t.yml:8:9  steps[0].quality[0]: not_null does not use values",
        ),
        ("{check: notnull, column: cost}", "expected one of not_null, unique, range"),
        ("{check: regex, column: currency, pattern: '(?=a)'}", "RE2, which has no lookaround"),
        (
            "{check: regex, column: currency, pattern: 'a+{1000}'}",
            "bad repetition operator: +{1000}",
        ),
        ("{check: custom_sql, expression: cost > 0 FROM x}", "is not a condition"),
        ("{check: custom_sql, expression: 'cost >'}", "t.yml:8:41  "),
        ("{check: custom_sql, expression: READ_CSV('a') > 0}", "READ_CSV is not available"),
        ("{check: custom_sql, expression: SUM(cost) > 0, mostly: 0.5}", "of all rows together"),
        ("{check: row_count, min: 1, where: SUM(cost) > 0}", "it cannot count or sum"),
        ("{check: not_null, column: cost, sevrity: info}", "unknown key (try: severity)"),
    ],
)
def test_a_wrong_check_is_refused_at_its_place(check: str, fault: str) -> None:
    (said,) = refusal(check)
    assert fault in said
    assert said.startswith("t.yml:8:")


def test_every_wrong_check_is_told_at_once() -> None:
    said = refusal(*["{check: not_null, column: costs}"] * 3)
    assert [fault.partition("  ")[0] for fault in said] == [f"t.yml:{n}:35" for n in (8, 9, 10)]


def test_a_table_that_nobody_has_said_may_have_any_column() -> None:
    head = HEAD.replace("billing_cost_daily, schema_template: billing_cost", "own")
    text = head + "      - {check: not_null, column: anything, where: \"a = '{date}'\"}\n"
    parse(text, file="t.yml", ref="a/b/t", step_models=step_models(STEP_TYPES))


def test_a_table_that_its_query_shapes_has_what_this_names() -> None:
    own = HEAD.replace("billing_cost_daily, schema_template: billing_cost", "own")
    head = own.replace("SELECT 1", "'SELECT 1 AS spent, {date} AS ingestion_date'")
    (said,) = refusal("{check: not_null, column: spend}", head=head)
    assert "own has no column spend (try: spent)" in said
    added = head.replace("table: own", "table: own, write_mode: append")
    for known, column in ((head, "x_run_id"), (head, "ingestion_date"), (added, "spend")):
        text = known + f"      - {{check: not_null, column: {column}}}\n"
        parse(text, file="t.yml", ref="a/b/t", step_models=step_models(STEP_TYPES))


def test_only_a_bill_has_a_source_to_match() -> None:
    head = HEAD.replace("billing_cost_daily, schema_template: billing_cost", "own")
    (said,) = refusal("{check: sum_matches_source}", head=head)
    assert "is for a table that holds a bill" in said
