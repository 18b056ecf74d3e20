"""What `embedded.py` answers about quality, lineage and restatements, in the shapes of the wire."""

from typing import Any

from convergence.api import wire
from convergence.engine.service import Service
from convergence.store import quality as results
from convergence.store import tenants

Json = dict[str, Any]


def lineage(service: Service, tenant_id: str, asked: wire.LineageQuery, limit: int) -> list[Json]:
    from convergence.engine.lineage import trace

    found = trace(service, tenant_id, asked.to_question(), limit=limit)
    return [wire.origin_out(item).model_dump(mode="json") for item in found]


def restated(
    service: Service, tenant_id: str, asked: wire.RestatementsQuery, limit: int
) -> list[Json]:
    from convergence.store import restatements

    first, last = asked.days
    wanted = restatements.Wanted(date_from=first, date_to=last, since=asked.since_moment)
    with service.database.read() as tx:
        tenants.get(tx, tenant_id)
        found = restatements.page(tx, tenant_id, wanted, limit=limit)
    return [wire.restatement_out(item).model_dump(mode="json") for item in found]


def quality(service: Service, tenant_id: str, asked: wire.QualityQuery, limit: int) -> list[Json]:
    with service.database.read() as tx:
        tenants.get(tx, tenant_id)
        found = results.page(tx, tenant_id, asked.to_wanted(), limit=limit)
    return [wire.quality_out(item).model_dump(mode="json") for item in found]


def quality_result(service: Service, tenant_id: str, dq_result_id: str) -> Json:
    with service.database.read() as tx:
        found = results.get(tx, tenant_id, dq_result_id)
    return wire.quality_shown(found).model_dump(mode="json")
