"""Results: questions of SQL, and costs."""

import base64
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from convergence.api.wire.bill import IncompleteDayOut, incomplete_out, moment
from convergence.api.wire.shape import In, Out, Page, any_day
from convergence.errors import Invalid
from convergence.model.cost import (
    Calendar,
    CostQuery,
    FileFormat,
    Group,
    Part,
    Shape,
    parse_filter,
    parse_group,
)
from convergence.model.day import FIRST_DAY, LAST_DAY
from convergence.model.load import IncompleteDay


class Rows(Protocol):
    """What the warehouse answered: columns as (name, BigQuery type), and rows."""

    @property
    def columns(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def rows(self) -> Sequence[tuple[Any, ...]]: ...
    @property
    def truncated(self) -> bool: ...


class BillOfRows(Protocol):
    """Costs, with how far they go."""

    @property
    def result(self) -> Rows: ...
    @property
    def fresh_at(self) -> datetime | None: ...
    @property
    def complete_to(self) -> date | None: ...
    @property
    def first_loaded_at(self) -> datetime | None: ...
    @property
    def incomplete(self) -> Sequence[IncompleteDay]: ...
    @property
    def following(self) -> Part | None: ...
    def is_complete(self, day: date) -> bool: ...


class QueryIn(In):
    """One SELECT in BigQuery SQL."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"sql": "SELECT SUM(cost) FROM billing_cost_daily"}]}
    )

    sql: Annotated[str, Field(min_length=1, max_length=200_000)]


class _Costs(BaseModel):
    """Which costs. Days are of the calendar, both included; all there are when absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str | None = Field(default=None, description="The operator's choice of a tenant")
    date_from: str | None = Field(default=None, alias="from", description="YYYY-MM-DD")
    date_to: str | None = Field(default=None, alias="to", description="YYYY-MM-DD")
    group_by: str = Field(
        default="",
        max_length=500,
        description="With commas: day, week, month, service, sku, project, region, resource, "
        "cost_type, credit_type, invoice_month, label.KEY, tag.KEY, project_label.KEY, "
        "system_label.KEY",
    )
    filter: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=100)] = Field(
        default_factory=list,
        description="`name=id`, such as `service=6F81-5844-456A` or `label.env=prod`; one name "
        "with several ids means any of them; no id means those without one",
    )
    calendar: Calendar = Field(
        default=Calendar.USAGE_UTC,
        description="What `from`, `to`, days, weeks and months are of: usage in UTC, usage in the "
        "provider's time zone, or invoices",
    )
    credit_types: bool = Field(
        default=True, description="Whether the credits of each type have a column of their own"
    )

    def to_question(self) -> CostQuery:
        """Raises Invalid for what is no day, no name to group by, or no filter."""
        filters: dict[Group, list[str]] = defaultdict(list)
        for text in self.filter:
            group, value = parse_filter(text)
            filters[group].append(value)
        return CostQuery(
            date_from=any_day(self.date_from) or FIRST_DAY,
            date_to=any_day(self.date_to) or LAST_DAY,
            group_by=tuple(parse_group(name) for name in self.group_by.split(",") if name),
            filters={name: tuple(values) for name, values in filters.items()},
            calendar=self.calendar,
            with_credit_types=self.credit_types,
        )


class CostsQuery(_Costs):
    """Sums of groups."""

    convert: Literal["USD"] | None = Field(
        default=None,
        description="Beside each amount, the same in dollars by the rate of its rows, which is "
        "part of the group",
    )
    format: Literal["json", "csv", "parquet"] = "json"
    as_of: str | None = Field(
        default=None,
        max_length=40,
        description="What the answer was at the end of a day, or at a moment with its zone; "
        "by usage days in UTC or invoice months, by service, project and invoice_month",
    )
    limit: int | None = Field(
        default=None, ge=1, le=1000, description="Groups in one part; all of them when absent"
    )
    cursor: str | None = Field(
        default=None, max_length=500, description="`next_cursor` of the part before"
    )

    @property
    def moment(self) -> datetime | None:
        """Raises Invalid."""
        return moment(self.as_of, at_end=True) if self.as_of else None

    @override
    def to_question(self) -> CostQuery:
        return replace(super().to_question(), with_rates=self.convert is not None)


class ExportQuery(_Costs):
    """A file: of groups where some are named, else of the rows of the bill."""

    focus: bool = Field(default=False, description="The rows with the columns of FOCUS 1.2")
    format: FileFormat = FileFormat.CSV

    @property
    def shape(self) -> Shape:
        """Raises Invalid for groups of rows as FOCUS has them."""
        if self.focus and self.group_by:
            raise Invalid(
                "FOCUS has the rows of a bill, no groups",
                code="invalid_dimension",
                hint="leave out focus or group_by",
            )
        if self.focus:
            return Shape.FOCUS
        return Shape.GROUPS if self.group_by else Shape.LINES


class CostItem(Out):
    """One group. Its ids and names are beside the sums, called by what was grouped by."""

    model_config = ConfigDict(extra="allow")

    currency: str | None
    rows: int
    cost: str | None
    credits: str | None
    net: str | None


class CostsOut(Page[CostItem]):
    """`fresh_at` is when the newest row was exported; up to `complete_to` all days of the calendar
    are complete: their rows have had time to arrive, and none of them is one of `incomplete_days`,
    which lack rows. Grouped by day each item says so. Before `first_loaded_at` there was no bill.
    """

    fresh_at: datetime | None
    complete_to: date | None
    first_loaded_at: datetime | None
    incomplete_days: list[IncompleteDayOut]


class ColumnOut(Out):
    name: str
    type: str


class ResultOut(Out):
    """NUMERIC and BIGNUMERIC are texts, timestamps ISO 8601 with Z."""

    columns: list[ColumnOut]
    rows: list[list[Any]]
    row_count: int
    truncated: bool


def result_out(result: Rows) -> ResultOut:
    return ResultOut(
        columns=[ColumnOut(name=name, type=kind) for name, kind in result.columns],
        rows=[[json_value(value) for value in row] for row in result.rows],
        row_count=len(result.rows),
        truncated=result.truncated,
    )


def costs_out(bill: BillOfRows, next_cursor: str | None = None) -> CostsOut:
    """Each group by its columns. Raises Invalid when there are too many for an answer."""
    check_whole(bill.result)
    names = [name for name, _ in bill.result.columns]
    items = [dict(zip(names, map(json_value, row), strict=True)) for row in bill.result.rows]
    for item, row in zip(items, bill.result.rows, strict=True):
        if "day" in item:
            item["is_complete"] = bill.is_complete(row[names.index("day")])
    return CostsOut(
        items=[CostItem.model_validate(item) for item in items],
        fresh_at=bill.fresh_at,
        complete_to=bill.complete_to,
        first_loaded_at=bill.first_loaded_at,
        incomplete_days=incomplete_out(bill.incomplete),
        next_cursor=next_cursor,
    )


def check_stored(*, is_stored: bool) -> None:
    """Raises Invalid for what Parquet has not: an earlier bill, or one in dollars."""
    if not is_stored:
        raise Invalid(
            "as_of and convert are answered in json or csv",
            code="invalid_format",
            hint="format=csv",
        )


def check_parts(wanted: CostsQuery) -> None:
    """Raises Invalid for a file in parts."""
    if wanted.format != "json" and (wanted.limit is not None or wanted.cursor is not None):
        raise Invalid(
            "a file of costs is whole: limit and cursor are for json",
            code="invalid_format",
            hint="leave limit and cursor out, or format",
        )


def check_whole(result: Rows) -> None:
    """Raises Invalid for an answer that was cut off."""
    if result.truncated:
        raise Invalid(
            f"more than {len(result.rows):,} groups",
            code="too_many_groups",
            hint="ask for fewer days or fewer groups",
        )


def json_value(value: Any) -> Any:  # noqa: ANN401 - a value of the warehouse, then of JSON
    """A value of the warehouse as JSON: nothing is rounded, nothing is lost."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [json_value(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)
