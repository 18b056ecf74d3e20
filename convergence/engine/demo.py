"""What a demonstration needs: two tenants with their exports, and the runs of days that lack."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from functools import partial
from uuid import uuid4

from convergence.engine import administer, costs, ledger
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Application, onboard
from convergence.engine.sample import Made
from convergence.engine.service import Service
from convergence.errors import Conflict
from convergence.model.cost import CostQuery, Dimension
from convergence.model.key import Scope
from convergence.model.money import Total
from convergence.model.run import LaunchRequest, Run, RunFilter, Status, Trigger
from convergence.model.sample.catalog import EUR, USD, Account
from convergence.model.source import Grant, Kind, Source
from convergence.model.tenant import Plan
from convergence.outside.secrets import kept
from convergence.store import runs

TEMPLATE = "gcp/cost/cost_billing"
LIMITS = {"daily_limit": 1000, "monthly_limit": 10_000, "concurrent_limit": 10}
AT_ONCE = 3
KEYS = "keys"
"""The folder of the home with a file for each tenant's key."""
KEY_DAYS = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A tenant of the demonstration, and the account whose bill it gets."""

    tenant_id: str
    company: str
    account: Account

    def source(self, project: str) -> str:
        return f"{project}.billing.{self.account.table}"


GUESTS = (
    Guest(tenant_id="acme1281", company="Acme Outfitters", account=USD),
    Guest(tenant_id="globex", company="Globex Research", account=EUR),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A day of a tenant that is to be loaded."""

    day: date
    tenant_id: str


def settle(service: Service, made: Made) -> None:
    """Make each guest a tenant, with its limits, its export, and its key in the home."""
    for guest in GUESTS:
        kept(service.home.ensure(KEYS) / guest.tenant_id, partial(_key, service, guest))
        administer.set_limits(service, guest.tenant_id, LIMITS)
        export = Source(
            table=guest.source(service.config.project),
            files=made.glob(guest.account),
            kind=Kind.GCP_DETAILED,
            grants=(Grant(tenant_id=guest.tenant_id),),
        )
        administer.put_source(service, export)


def missing(service: Service, made: Made) -> list[Wanted]:
    """The days whose loaded totals are not the known ones, the oldest first.

    The broken day is among them until its failure was seen, and again when its file was mended.
    """
    found = {
        Wanted(day=day, tenant_id=guest.tenant_id)
        for guest in GUESTS
        for day in _differing(service, guest, made)
    }
    return sorted(found, key=lambda each: (each.day, each.tenant_id))


def load(service: Service, wanted: Sequence[Wanted], ended: Callable[[int], object]) -> None:
    """Run the template for each, some at once; `ended` is told how many are over.

    Ctrl-C breaks off what is under way: the next demonstration goes on with it.
    """
    executor = Executor(service=service, worker=f"demo-{uuid4()}")
    pool = ThreadPoolExecutor(AT_ONCE)
    acts = [pool.submit(_run, service, executor, each) for each in wanted]
    try:
        for count, act in enumerate(as_completed(acts), start=1):
            act.result()
            ended(count)
    except KeyboardInterrupt:
        executor.break_off()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ledger.publish(service)


def failure(service: Service, made: Made) -> Run | None:
    """The newest run that failed over the broken file, while the file is broken."""
    return next(filter(None, (_failed(service, guest, made) for guest in GUESTS)), None)


def _key(service: Service, guest: Guest) -> str:
    """The key of a new tenant; or, when a file with it was lost, another one."""
    application = Application(
        tenant_id=guest.tenant_id,
        company_name=guest.company,
        admin_email=f"finops@{guest.tenant_id}.example",
        subscription_plan=Plan.SCALE,
    )
    try:
        return onboard(service, application).api_key
    except Conflict as error:
        if error.code != "tenant_exists":
            raise
    _, text = administer.create_key(
        service, guest.tenant_id, key_name="demo", days=KEY_DAYS, scopes=tuple(Scope)
    )
    return text


def _differing(service: Service, guest: Guest, made: Made) -> Iterator[date]:
    known = made.totals[guest.account.id]
    loaded = _loaded(service, guest, made)
    seen = made.broken(guest.account) if _failed(service, guest, made) else None
    for day, sums in known.items():
        if day != seen and loaded.get(day) != sum(sums.values(), Total()):
            yield day


def _loaded(service: Service, guest: Guest, made: Made) -> Mapping[date, Total]:
    """What the tenant's table holds of each day."""
    question = CostQuery(
        date_from=made.sample.first, date_to=made.sample.last, group_by=(Dimension.DAY,)
    )
    found = costs.summary(service, guest.tenant_id, question)
    names = [name for name, _ in found.columns]
    rows = (dict(zip(names, row, strict=True)) for row in found.rows)
    return {row["day"]: Total(row["rows"], row["cost"], row["credits"]) for row in rows}


def _failed(service: Service, guest: Guest, made: Made) -> Run | None:
    day = made.broken(guest.account)
    if day is None:
        return None
    wanted = RunFilter(statuses=frozenset({Status.FAILED}), date_from=day, date_to=day)
    with service.database.read() as tx:
        found = runs.page(tx, guest.tenant_id, wanted, limit=1, before=None)
    return next(iter(found), None)


def _run(service: Service, executor: Executor, wanted: Wanted) -> None:
    asked = LaunchRequest(
        tenant_id=wanted.tenant_id,
        template=TEMPLATE,
        run_date=wanted.day,
        trigger=Trigger.BACKFILL,
        trigger_by="demo",
    )
    run = launch(service, asked).run
    executor.walk(run.tenant_id, run.run_id)
