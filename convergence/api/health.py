"""Is it there, does it live, can it work; what it counts."""

from collections import Counter
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from convergence import __version__
from convergence.api import problems, wire
from convergence.api.auth import Nearby, Public
from convergence.engine import days
from convergence.engine.agree import holds_files
from convergence.engine.service import Service
from convergence.errors import CdpError, Unavailable
from convergence.outside.logs import Log
from convergence.store import fleet, migrate

router = APIRouter(tags=["health"])

NAME = "convergence-data-pipeline"
log = Log(__name__)
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/health", operation_id="health")
def health(service: Public) -> wire.Health:
    return wire.Health(
        status="healthy",
        service=NAME,
        version=__version__,
        environment=service.config.environment,
    )


@router.get("/health/live", operation_id="live")
def live(_service: Public) -> wire.Alive:
    """The process answers; nothing else is looked at."""
    return wire.Alive(status="alive", service=NAME, version=__version__)


@router.get("/health/ready", operation_id="ready", response_model=wire.Ready)
def ready(service: Public, request: Request) -> wire.Ready | Response:
    """Store, warehouse and schema can be worked with; else 503 names what cannot."""
    checks = {
        "store": _try(lambda: _check_store(service)),
        "schema": _try(lambda: _check_schema(service)),
        "warehouse": _try(lambda: _check_warehouse(service)),
    }
    if any(state != "ok" for state in checks.values()):
        return problems.not_ready(request, checks)
    return wire.Ready(status="ready", service=NAME, version=__version__, checks=checks)


@router.get("/metrics", operation_id="metrics", response_class=Response)
def metrics(service: Nearby) -> Response:
    """In Prometheus' text format; from this machine, or with the operator's key."""
    live_runs: Counter[str] = Counter()
    with service.database.read() as tx:
        for (tenant_id, _), number in fleet.status_counts(tx).items():
            live_runs[tenant_id] += number
    service.metrics.set_active(live_runs)
    days.report_quotas(service)
    return Response(service.metrics.render(), media_type=PROMETHEUS)


def _check_store(service: Service) -> None:
    with service.database.read() as tx:
        fleet.tenants(tx, limit=1, after=None)


def _check_schema(service: Service) -> None:
    status = migrate.status(service.database)
    if not status.is_current:
        raise Unavailable(
            f"the schema is at {status.current}, not at {status.head}: run cdp db migrate"
        )


def _check_warehouse(service: Service) -> None:
    """One that another process has is that one's to check."""
    if holds_files(service):
        service.warehouse.check()


def _try(check: Callable[[], object]) -> str:
    try:
        check()
    except CdpError as error:
        log.warning("not ready", code=error.code, error=error.detail)
        return problems.told(error)
    except OSError as error:
        return str(error)
    return "ok"
