"""Quality results, and lineage: what was found of the rows, and where a cost comes from."""

from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Query

from convergence.api import paging, wire
from convergence.api.auth import Anyone
from convergence.api.bills import whose
from convergence.api.presence import WhileThere, asker
from convergence.engine import lineage
from convergence.model.lineage import Origin
from convergence.model.quality import QualityResult
from convergence.store import quality, tenants

router = APIRouter(prefix="/api/v1", tags=["quality"])


@router.get("/quality", operation_id="list_quality")
def list_quality(
    door: Anyone, wanted: Annotated[wire.QualityQuery, Query()]
) -> wire.Page[wire.QualityOut]:
    """What quality checks found, the newest first."""
    tenant_id = whose(door, wanted.tenant_id)
    chosen, before = wanted.to_wanted(), paging.read_moment(wanted.cursor)
    with door.service.database.read() as tx:
        tenants.get(tx, tenant_id)
        found = quality.page(tx, tenant_id, chosen, limit=wanted.limit + 1, before=before)
    return paging.page_of(found, wanted.limit, key=_key, show=wire.quality_out)


@router.get("/quality/{dq_result_id}", operation_id="get_quality")
def get_quality(door: Anyone, dq_result_id: str, tenant_id: str | None = None) -> wire.QualityShown:
    """One result with each check and rows that fail."""
    owner = whose(door, tenant_id)
    with door.service.database.read() as tx:
        tenants.get(tx, owner)
        return wire.quality_shown(quality.get(tx, owner, dq_result_id))


@router.get("/costs/lineage", operation_id="get_lineage")
def get_lineage(
    door: Anyone, wanted: Annotated[wire.LineageQuery, Query()], there: WhileThere
) -> wire.Page[wire.OriginOut]:
    """The loads that hold the rows of a cost: runs, queries, files, proof; latest days first."""
    tenant_id = whose(door, wanted.tenant_id)
    question = wanted.to_question()
    after = paging.read_day(wanted.cursor, question.digest)
    found = lineage.trace(
        door.service,
        tenant_id,
        question,
        limit=wanted.limit + 1,
        after=after,
        asker=asker(door, tenant_id, there),
    )

    def place(item: Origin) -> tuple[str, ...]:
        return item.day.isoformat(), item.source, question.digest

    return paging.page_of(found, wanted.limit, key=place, show=wire.origin_out)


def _key(item: QualityResult) -> tuple[str, ...]:
    return item.executed_at.astimezone(UTC).isoformat(), item.dq_result_id
