from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from convergence.library import Library
from convergence.model.template_schema import schema_text
from convergence.steps.base import step_models
from convergence.steps.registry import STEP_TYPES
from convergence.warehouse.schemas import billing_query, load_schema

CONFIGS = Path(__file__).parents[2] / "configs"
BOOKS = Library(CONFIGS, step_models(STEP_TYPES))

STAMPED = {"ingestion_date", "x_run_id", "x_source", "x_ingested_at"}


@pytest.mark.parametrize("ref", BOOKS.refs())
def test_every_shipped_template_is_valid(ref: str) -> None:
    assert BOOKS.get(ref).notices == ()
    first = BOOKS.text(ref).splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../pipeline-template.schema.json"


def test_the_schema_for_editors_is_the_generated_one() -> None:
    """After a change of keys, write `schema_text` to the file again."""
    committed = (CONFIGS / "pipeline-template.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(step_models(STEP_TYPES))


def test_cost_billing_selects_what_the_export_gives_and_nothing_the_loader_stamps() -> None:
    query = BOOKS.get("gcp/cost/cost_billing").steps[0].settings["source"]["query"]
    tree = sqlglot.parse_one(query, read="bigquery")
    assert isinstance(tree, exp.Select)
    columns = load_schema("billing_cost_daily").column_names
    selected = [column.alias_or_name for column in tree.selects]
    assert selected == [column for column in columns if column not in STAMPED]
    assert not list(tree.find_all(exp.Join, exp.Limit))


def test_the_query_of_one_day_and_that_of_a_sync_are_the_same() -> None:
    """The one is in the template, to be read and copied; the other is taken without a query."""
    query = BOOKS.get("gcp/cost/cost_billing").steps[0].settings["source"]["query"]
    assert sqlglot.parse_one(query, read="bigquery") == sqlglot.parse_one(
        billing_query(), read="bigquery"
    )


def test_every_name_in_cost_billing_is_said_once() -> None:
    template = BOOKS.get("gcp/cost/cost_billing")
    load, mail = template.steps
    assert template.pipeline_id == "{tenant_id}-gcp-cost-billing"
    assert template.description == "Extract GCP billing costs for tenant {tenant_id} - date {date}"
    assert load.settings["destination"] == {
        "dataset_type": "{destination_dataset_type}",
        "table": "{destination_table}",
        "write_mode": "replace_partition",
        "schema_template": "billing_cost",
    }
    assert mail.settings["to_emails"] == ["{admin_email}", "data-ops@example.com"]
    assert mail.settings["subject"] == "[ALERT] Cost Billing Pipeline Failed - {tenant_id}"
