"""A plan on the screen. For `cdp plan` and `cdp run --dry-run`."""

from collections.abc import Iterator, Sequence
from typing import Any

from convergence.cli.command import Call
from convergence.cli.output import Format, show_record, write, write_table

VALUE_COLUMNS = ("name", "value", "origin")
STEP_COLUMNS = ("step_id", "ps_type", "trigger", "table", "files", "bytes", "rows_last_time")


def show_plan(
    call: Call, tenant: str, template: str, wanted: dict[str, Any], *, with_sql: bool = False
) -> None:
    """`with_sql`: with what the warehouse runs; JSON always has it.

    Raises CdpError where the request itself is wrong.
    """
    from convergence.model.template import check_ref

    with call.client() as client:
        planned = client.plan(tenant, check_ref(template), wanted)
    if call.format is not Format.TABLE:
        show_record(planned, call.format)
        return
    for line in _head(planned):
        write(line)
    write("")
    write_table(planned["variables"], VALUE_COLUMNS)
    write("")
    write_table([_step_row(step) for step in planned["steps"]], STEP_COLUMNS)
    for line in _billed(planned):
        write(line)
    for step in planned["steps"]:
        _show_step(step, with_sql=with_sql)


def _head(planned: dict[str, Any]) -> Iterator[str]:
    yield f"{planned['pipeline_id']} for {planned['date']}, nothing was changed"
    for each in planned["quota"]:
        yield f"quota {each['kind']}: {each['used']} of {each['limit']}, {_with_run(each)}"
    if planned["would_run"]:
        yield "it would run"
    for obstacle in planned["obstacles"]:
        where = f"{obstacle['step_id']}: " if obstacle["step_id"] else ""
        yield f"stopped by {where}{obstacle['detail']}"
        if obstacle["hint"]:
            yield f"  try: {obstacle['hint']}"


def _with_run(quota: dict[str, Any]) -> str:
    is_over = quota["with_run"] > quota["limit"]
    return "which is the limit" if is_over else f"{quota['with_run']} with this run"


def _step_row(step: dict[str, Any]) -> dict[str, Any]:
    reads: Sequence[dict[str, Any]] = step["reads"]
    if not reads:
        return step
    sums = {name: sum(read[name] for read in reads) for name in ("files", "bytes")}
    return {**step, **sums}


def _show_step(step: dict[str, Any], *, with_sql: bool) -> None:
    if step["sql"] is None:
        return
    write("")
    write(f"{step['step_id']}, in BigQuery SQL:")
    write(step["query"])
    if with_sql:
        write("")
        write(f"{step['step_id']}, what the warehouse runs:")
        write(step["sql"])
    for note in step["notes"]:
        write(f"approximate: {note}")


def _billed(planned: dict[str, Any]) -> Iterator[str]:
    """What the queries of the steps would cost, where the warehouse bills for them."""
    for step in planned["steps"]:
        if step["bytes_billed"] is not None:
            yield (
                f"{step['step_id']}: {step['bytes_billed']:,} bytes are billed for its query, "
                f"{step['price_usd']} USD at {planned['price_per_tib']} USD per TiB; "
                "the proof reads some columns of them again"
            )
