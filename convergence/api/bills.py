"""The bill over time: what was restated, and how it agrees with its source."""

from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Query

from convergence.api import paging, wire
from convergence.api.auth import Anyone, Door
from convergence.api.presence import WhileThere, asker
from convergence.engine import reconcile
from convergence.errors import Invalid
from convergence.model.restatement import Restatement
from convergence.store import restatements, tenants
from convergence.store.restatements import Wanted

router = APIRouter(prefix="/api/v1/costs", tags=["costs"])


@router.get("/restatements", operation_id="list_restatements")
def list_restatements(
    door: Anyone, wanted: Annotated[wire.RestatementsQuery, Query()]
) -> wire.Page[wire.RestatementOut]:
    """Amounts that were reported and became others, the newest first."""
    tenant_id = whose(door, wanted.tenant_id)
    first, last = wanted.days
    chosen = Wanted(date_from=first, date_to=last, since=wanted.since_moment)
    before = paging.read_place(wanted.cursor)
    with door.service.database.read() as tx:
        tenants.get(tx, tenant_id)
        found = restatements.page(tx, tenant_id, chosen, limit=wanted.limit + 1, before=before)
    return paging.page_of(found, wanted.limit, key=_key, show=wire.restatement_out)


@router.get("/reconciliation", operation_id="get_reconciliation")
def get_reconciliation(
    door: Anyone, wanted: Annotated[wire.ReconciliationQuery, Query()], there: WhileThere
) -> wire.ReconciliationsOut:
    """By invoice month, cost type and currency: our totals, the source's, and the runs."""
    tenant_id = whose(door, wanted.tenant_id)
    who = asker(door, tenant_id, there)
    found = reconcile.reconciliation(door.service, tenant_id, wanted.month, who)
    return wire.reconciliations_out(
        found,
        reconcile.incomplete_days(door.service, tenant_id),
        reconcile.shared_accounts(door.service, tenant_id, who),
    )


def whose(door: Door, asked: str | None) -> str:
    """The caller, or the tenant that the operator names. Raises Invalid, NotFound."""
    tenant_id = door.tenant_or_all(asked)
    if tenant_id is None:
        raise Invalid("say whose costs", code="tenant_missing", hint="?tenant_id=…")
    return tenant_id


def _key(item: Restatement) -> tuple[str, ...]:
    moment = item.recorded_at.astimezone(UTC).isoformat()
    return moment, item.load_id, str(item.position)
