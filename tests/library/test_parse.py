import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from convergence.errors import Fault, Invalid
from convergence.library import from_snapshot
from convergence.model.template import OnFailure, Retry, SourceFamily, StepTrigger, Template

Parse = Callable[[str], Template]
Models = Mapping[str, type[BaseModel]]
Faults = Callable[[str], list[Fault]]

MINIMAL = """\
pipeline_id: "{tenant_id}-x"
steps:
  - step_id: load
    ps_type: gcp.bq_etl
    source: {query: SELECT 1}
    destination: {dataset_type: gold, table: t}
"""


def test_the_shipped_template_is_read_as_it_was_meant(parse: Parse, shipped: str) -> None:
    template = parse(shipped)
    load, mail = template.steps
    assert template.pipeline_id == "{tenant_id}-gcp-cost-billing"
    assert template.variables["source_billing_table"].source is SourceFamily.GCP
    assert template.variables["source_billing_table"].default is None
    assert (load.step_id, load.timeout_minutes) == ("extract_billing_costs", 20)
    assert load.settings["destination"]["write_mode"] == "replace_partition"
    assert (mail.step_id, mail.trigger) == ("notify_on_failure", StepTrigger.ON_FAILURE)
    assert template.notices == ()


def test_a_template_of_the_source_documents_loads_unchanged(parse: Parse) -> None:
    text = Path(__file__).with_name("original.yml").read_text(encoding="utf-8")
    template = parse(text)
    load, summary, mail = template.steps
    assert (template.version, template.schedule) == ("1.0", "0 2 * * *")
    assert template.timeout_minutes == 30
    assert template.variables["row_limit"].default == "1000"
    assert load.retry == Retry(max_attempts=3, backoff_seconds=30)
    assert summary.retry == mail.retry == Retry(max_attempts=4)
    assert [step.on_failure for step in template.steps] == [
        OnFailure.STOP,
        OnFailure.CONTINUE,
        OnFailure.ALERT,
    ]
    assert load.metadata == {"owner": "finops", "reviewed": "2025-11-01"}
    assert load.variables == {"region": "us"}
    assert summary.settings["limit"] == "10"
    assert summary.depends_on == mail.depends_on == ("extract_billing_costs",)
    assert [notice.split()[0] for notice in template.notices] == ["schedule", "steps[0].dq_config"]


def test_a_stored_snapshot_gives_the_same_template(
    parse: Parse, shipped: str, models: Models
) -> None:
    template = parse(shipped)
    assert from_snapshot("gcp/cost/t", template.raw, models) == template


def test_a_stored_snapshot_is_held_to_the_same_rules(parse: Parse, models: Models) -> None:
    raw = {**parse(MINIMAL).raw, "timeout_minutes": "ten"}
    with pytest.raises(Invalid, match="stored template") as caught:
        from_snapshot("gcp/cost/t", raw, models)
    assert caught.value.faults[0].pointer == "/timeout_minutes"


def test_scalars_stay_text_until_the_model_asks(parse: Parse) -> None:
    extras = "variables: {a: no, b: 12:30, c: 2024-11-01, d: 1_000, e: 0x1F, f: 'null'}\n"
    variables = parse(MINIMAL + extras).variables
    defaults = [variable.default for variable in variables.values()]
    assert defaults == ["no", "12:30", "2024-11-01", "1_000", "0x1F", "null"]


@pytest.mark.parametrize("written", ["", " null", " ~", " {default: null}", " {description: x}"])
def test_a_variable_without_a_value_has_no_default(parse: Parse, written: str) -> None:
    assert parse(f"{MINIMAL}variables:\n  a:{written}\n").variables["a"].default is None


@pytest.mark.parametrize(
    ("old", "new", "place", "suggestion"),
    [
        ("gcp.bq_etl", "gcp.bq_elt", (4, 14), "gcp.bq_etl"),
        ("step_id: load", "id: load", (3, 5), "step_id"),
        ("dataset_type: gold", "dataset_id: gold", (6, 19), "dataset_type"),
        ("table: t", "table_id: t", (6, 39), "table"),
        ("table: t", "table: t, write_disposition: x", (6, 49), "write_mode"),
        ("destination:", "target:", (6, 5), "destination"),
        ("SELECT 1", '"SELECT ${date}"', (5, 29), "{date}"),
        ("SELECT 1", '"SELECT {{ date }}"', (5, 29), "{date}"),
        ("SELECT 1", '"SELECT {DATE}"', (5, 29), "{date}"),
        ("SELECT 1", '"SELECT {dat}"', (5, 29), "{date}"),
        ("SELECT 1", f'"SELECT {{{"x" * 70}}}"', (5, 29), f"declare {'x' * 60} in variables"),
        ("SELECT 1", '"SELECT {colour}"', (5, 29), "declare colour in variables"),
        ("    source", "    timeout_minutes: ten\n    source", (5, 22), "timeout_minutes: 10"),
        ("    source", "    trigger: on_failur\n    source", (5, 14), "on_failure"),
        ("    source", "    depends_on: [lod]\n    source", (5, 18), "load"),
        ("    source", "    condition: a > b\n    source", (5, 5), "use trigger"),
        ('"{tenant_id}-x"', "{tenant_id}", (1, 14), '"{tenant_id}"'),
        ("pipeline_id", "pipline_id", (1, 1), "pipeline_id"),
    ],
)
def test_a_mistake_is_shown_at_its_place_with_what_to_write(
    faults: Faults, old: str, new: str, place: tuple[int, int], suggestion: str
) -> None:
    (fault,) = faults(MINIMAL.replace(old, new))
    assert (fault.line, fault.column) == place
    assert fault.suggestion == suggestion
    assert fault.excerpt == MINIMAL.replace(old, new).splitlines()[place[0] - 1]
    assert str(fault).startswith(f"t.yml:{place[0]}:{place[1]}  ")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("retry_policy: {max_retries: 1}\n    retry: {max_attempts: 2}", "keep retry"),
        ("fail_on_error: false\n    on_failure: stop", "contradict"),
        ("config: {source: {query: SELECT 2}}", "belongs in the step"),
        ("limit: 1\n    config: {limit: 2}", "is in the step too"),
        ("variables: {tenant_id: other}", "tenant_id is set by the system"),
        ("retry: {max_attempts: 0}", "greater than or equal to 1"),
        ("timeout_minutes: 121", "less than or equal to 120"),
        ("timeout_minutes: nan", "expected a number"),
        ("depends_on: load", "expected a list"),
        ("limit: many", "expected a whole number"),
        ("depends_on: [load]", "load -> load"),
        ("trigger:", "on_failure, on_completion, got nothing"),
        ("depends_on: [[a]]", "expected a text, got a list"),
    ],
)
def test_a_step_that_cannot_be_is_refused(faults: Faults, extra: str, said: str) -> None:
    (fault,) = faults(MINIMAL.replace("    source", f"    {extra}\n    source"))
    assert said in fault.message


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("timeout_minutes: 3\ntimeout_seconds: 180", "keep timeout_minutes"),
        ("max_retries: 3\nretry_attempts: 3", "keep retry_attempts"),
        ("variables: {a: 1}\nparameters: {a: 2}", "in variables and in parameters"),
        ("variables: {date: 2024-11-01}", "date is set by the system"),
        ("variables: {Big: 1}", '"Big" does not match'),
        ("variables: {a: '{b}', b: 1}", "{b} is not a known name here"),
        ("variables: {a: {default: 1, source: aws}}", "expected one of gcp, focus"),
        ('variables: {a: "x\\ny"}', "control character"),
        ("timeout_minutes: 1441", "less than or equal to 1440"),
    ],
)
def test_a_root_that_cannot_be_is_refused(faults: Faults, extra: str, said: str) -> None:
    (fault,) = faults(f"{MINIMAL}{extra}\n")
    assert said in fault.message


def test_a_name_in_a_number_is_checked_when_it_is_filled(faults: Faults) -> None:
    text = MINIMAL.replace("    source", '    limit: "{row_limit}"\n    source')
    assert faults(text + "variables: {row_limit: 5}\n") == []


def test_a_nested_pipeline_is_one_fault(faults: Faults) -> None:
    nested = "pipeline:\n" + "".join(f"  {line}\n" for line in MINIMAL.splitlines())
    (fault,) = faults(nested)
    assert "left edge" in fault.suggestion


def test_every_fault_is_reported_at_once_in_the_order_of_the_file(
    faults: Faults, shipped: str
) -> None:
    broken = (
        shipped.replace("timeout_minutes: 20", "timeout_minutes: ten")
        .replace("{error_message}", "{eror_message}")
        .replace("gcp.bq_etl", "gcp.bq_elt")
        .replace("'{date}'", "'${date}'")
        .replace("trigger: on_failure", "trigger: on_failure\n    depends_on: [nobody]")
    )
    found = faults(broken)
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)
    assert [re.split(r":\s", fault.message)[0] for fault in found] == [
        "steps[0].ps_type",
        "steps[0].timeout_minutes",
        "steps[0].source.query",
        "steps[1].depends_on[0]",
        "steps[1].message",
    ]


def test_a_cycle_is_named_in_order(faults: Faults) -> None:
    head, _, step = MINIMAL.partition("steps:\n")
    second = step.replace("step_id: load", "step_id: next\n    depends_on: [load]")
    first = step.replace("step_id: load", "step_id: load\n    depends_on: [next]")
    (fault,) = faults(f"{head}steps:\n{first}{second}")
    assert "load -> next -> load" in fault.message


def test_the_keys_of_design_have_their_effect(parse: Parse) -> None:
    extra = "retry: {max_attempts: 2, backoff_seconds: 0.5}\n    on_failure: alert"
    (step,) = parse(MINIMAL.replace("    source", f"    {extra}\n    source")).steps
    assert step.retry == Retry(max_attempts=2, backoff_seconds=0.5)
    assert step.on_failure is OnFailure.ALERT
    assert (step.name, step.depends_on, step.trigger) == ("load", None, StepTrigger.ALWAYS)


def test_names_are_checked_in_every_text(parse: Parse, faults: Faults) -> None:
    text = f"{MINIMAL}description: 'of {{date}} with {{Braces}} and {{1}}'\n"
    assert parse(text).description == "of {date} with {Braces} and {1}"
    (fault,) = faults(text.replace("{date}", "{run_id}"))
    assert "{run_id} is not a known name here" in fault.message


def test_a_ps_type_that_is_no_text_is_one_fault(faults: Faults) -> None:
    (fault,) = faults(MINIMAL.replace("gcp.bq_etl", "[gcp.bq_etl]"))
    assert (fault.line, fault.column) == (4, 14)
    assert "expected a text, got a list" in fault.message
