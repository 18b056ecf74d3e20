"""Lineage: from a cost to the loads that hold its rows, and what made them."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from convergence.api.wire.quality import QualityOut, quality_out
from convergence.api.wire.result import CostsQuery
from convergence.api.wire.shape import Money, Out
from convergence.model.cost import Calendar, CostQuery
from convergence.model.lineage import Origin
from convergence.model.load import FileState
from convergence.model.money import Total, Totals


class LineageQuery(BaseModel):
    """Which costs: days and filters as for /costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: str | None = Field(default=None, description="The operator's choice of a tenant")
    date_from: str | None = Field(default=None, alias="from", description="First usage day")
    date_to: str | None = Field(default=None, alias="to", description="Last usage day")
    filter: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=100)] = Field(
        default_factory=list, description="`name=id`, such as `service=6F81-5844-456A`"
    )
    calendar: Calendar = Field(
        default=Calendar.USAGE_UTC, description="Which days are meant, as for /costs"
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    cursor: Annotated[str | None, Field(max_length=500)] = None

    def to_question(self) -> CostQuery:
        """Raises Invalid for what is no day or no filter."""
        given = {"from": self.date_from, "to": self.date_to, "filter": self.filter}
        return CostsQuery.model_validate({**given, "calendar": self.calendar}).to_question()


class ShownOut(Out):
    """The asked rows, of one currency."""

    currency: str | None
    rows: int
    cost: Money
    credits: Money
    net: Money


class ProofOut(Out):
    """The load's totals beside the source's, of one month, cost type and currency."""

    invoice_month: str | None
    cost_type: str | None
    currency: str | None
    rows: int
    cost: Money
    credits: Money
    source_rows: int
    source_cost: Money
    source_credits: Money


class FileOut(Out):
    """A file of the source as it was read; `rows` of the day, `content_hash` of its bytes. The
    `size` of rows in a table without partitions is not known.
    """

    path: str
    size: int | None
    modified_ns: int
    rows: int
    content_hash: str


class OriginOut(Out):
    """One day of one source, and the load that brought its rows. `is_equal` null: not proven."""

    date: date
    source: str
    pipeline_logging_id: str
    shown: list[ShownOut]
    load_id: str | None
    published_at: datetime | None
    is_sample: bool
    is_equal: bool | None
    totals: list[ProofOut]
    content_hash: str
    source_export_time: datetime | None
    files: list[FileOut]
    template: str | None
    template_hash: str | None
    parameters: Mapping[str, Any]
    sql: str
    quality: QualityOut | None
    restatements: int


def origin_out(value: Origin) -> OriginOut:
    load, run = value.load, value.run
    return OriginOut(
        date=value.day,
        source=value.source,
        pipeline_logging_id=value.run_id,
        shown=[_shown(currency, total) for currency, total in sorted(value.shown.items())],
        load_id=load.load_id if load else None,
        published_at=load.published_at if load else None,
        is_sample=load.is_sample if load else False,
        is_equal=value.is_equal if load and not load.is_sample else None,
        totals=_proofs(load.totals, load.source_totals) if load else [],
        content_hash=load.content_hash if load else "",
        source_export_time=load.source_state.max_export_time if load else None,
        files=[_file(file) for file in load.source_state.files] if load else [],
        template=run.template if run else None,
        template_hash=run.template_hash if run else None,
        parameters=run.parameters if run else {},
        sql=value.sql,
        quality=quality_out(value.quality) if value.quality else None,
        restatements=len(value.restatements),
    )


def _shown(currency: str, total: Total) -> ShownOut:
    return ShownOut(
        currency=currency or None,
        rows=total.rows,
        cost=total.cost,
        credits=total.credits,
        net=total.net,
    )


def _proofs(ours: Totals, source: Totals) -> list[ProofOut]:
    proofs = []
    for key in sorted(ours.keys() | source.keys()):
        mine, theirs = ours.get(key, Total()), source.get(key, Total())
        proof = ProofOut(
            **{name: value or None for name, value in key._asdict().items()},
            rows=mine.rows,
            cost=mine.cost,
            credits=mine.credits,
            source_rows=theirs.rows,
            source_cost=theirs.cost,
            source_credits=theirs.credits,
        )
        proofs.append(proof)
    return proofs


def _file(file: FileState) -> FileOut:
    return FileOut(
        path=file.path,
        size=file.size or None,
        modified_ns=file.mtime_ns,
        rows=file.rows,
        content_hash=file.content_hash,
    )
