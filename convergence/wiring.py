"""The composition root: Settings become a Service. The only place where concrete parts meet.

Parts are imported when they are made, so that a command pays only for what it uses.
"""
# ruff: noqa: PLC0415 - see above

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from convergence.engine.agree import check_files, check_pepper
from convergence.engine.service import Config, Makers, Queue, Service
from convergence.errors import Unavailable
from convergence.model.tenant import WarehouseKind
from convergence.outside.clock import SystemClock
from convergence.outside.home import Home
from convergence.outside.notify import Mailer, NoMailer, SmtpMailer
from convergence.outside.secrets import Secrets
from convergence.settings.fields import Settings, text_of
from convergence.steps.base import StepType, step_models
from convergence.store.database import Database
from convergence.warehouse.base import Warehouse

if TYPE_CHECKING:
    from convergence.library import Library
    from convergence.outside.metrics import Metrics
    from convergence.outside.vault import Vault
    from convergence.warehouse.bigquery.access import Access
    from convergence.warehouse.files.parquet import ExportWriter

SPARE_CONNECTIONS = 8
"""Beside one for each run under way: for callers, and for what recurs."""
SHIPPED_CONFIGS = (
    Path(__file__).parent / "configs",
    Path(__file__).parent.parent / "configs",
)


def build(settings: Settings) -> Service:
    """A service that has opened nothing yet but its home. Raises CdpError."""
    home = Home(settings.home)
    home.check_usable()
    home.ensure()
    config = Config(
        home=home.path,
        database_url=settings.database_url_text(),
        project=settings.project_id,
        warehouse=WarehouseKind(settings.warehouse),
        environment=settings.environment,
        dataset_prefix=settings.dataset_prefix,
        auth_disabled=settings.disable_auth,
        worker_concurrency=settings.worker_concurrency,
        query_seconds=settings.query_timeout,
        rate_limit=settings.rate_limit,
        arriving_days=settings.arriving_days,
        closing_days=settings.closing_days,
        keep_queue_days=settings.keep_queue_days,
        keep_events_days=settings.keep_events_days,
        keep_runs_days=settings.keep_runs_days,
        may_claim_files=settings.claim_files,
        price_per_tib=Decimal(str(settings.bigquery_price_per_tib)),
    )
    service = Service(
        config=config,
        clock=SystemClock(),
        home=home,
        secrets=Secrets(
            home.path,
            pepper=text_of(settings.pepper),
            admin_key=text_of(settings.admin_key),
            environment=settings.environment,
        ),
        mailer=_mailer(settings),
        makers=Makers(
            database=lambda: _database(settings, service),
            warehouse=lambda: _warehouse(settings, service),
            step_types=_step_types,
            library=lambda: library(settings),
            metrics=_metrics,
            queue=lambda database: _queue(database, service),
            vault=lambda: _vault(settings),
        ),
    )
    return service


def _database(settings: Settings, service: Service) -> Database:
    """The control store, migrated: additive steps only, so a newer process may just start."""
    least = settings.worker_concurrency + SPARE_CONNECTIONS
    database = Database(
        service.config.database_url, connections=max(settings.database_connections, least)
    )
    if not database.is_current():
        from convergence.store import migrate

        migrate.upgrade(database)
    if not settings.disable_auth:
        check_pepper(database, service.secrets)
    return database


def _queue(database: Database, service: Service) -> Queue:
    from convergence.engine.work import DurableQueue

    return DurableQueue(database, service.config.database_url, service.step_types)


def _vault(settings: Settings) -> "Vault":
    try:
        from convergence.outside.vault import Vault
    except ModuleNotFoundError as error:
        raise _client_missing("credentials of tenants need", error) from error

    return Vault(
        settings.home,
        key=text_of(settings.credentials_key),
        environment=settings.environment,
    )


def _client_missing(what: str, error: ModuleNotFoundError) -> Unavailable:
    return Unavailable(
        f"{what} the client of BigQuery: {error}",
        code="client_missing",
        hint="pip install 'convergence-data-pipeline[bigquery]'",
    )


def _step_types() -> Mapping[str, StepType]:
    from convergence.steps.registry import STEP_TYPES

    return STEP_TYPES


def _metrics() -> "Metrics":
    from convergence.outside.metrics import Metrics

    return Metrics()


def library(settings: Settings) -> "Library":
    """The templates; nothing of the home is touched."""
    from convergence.library import Library

    models = step_models(_step_types())
    if settings.configs_dir is not None:
        return Library(settings.configs_dir, models)
    return Library(shipped_configs(), models)


def shipped_configs() -> Path:
    """The folder of the templates that come with this program."""
    return next(path for path in SHIPPED_CONFIGS if path.is_dir())


def export_writer() -> "ExportWriter":
    """Writes the files of a sample export; to be closed, as a context."""
    from convergence.warehouse.files.parquet import ExportWriter

    return ExportWriter()


def _mailer(settings: Settings) -> Mailer:
    url = text_of(settings.smtp_url)
    if url is None:
        return NoMailer()
    return SmtpMailer(url, sender=settings.smtp_from, allow=frozenset(settings.alert_allow))


def _warehouse(settings: Settings, service: Service) -> Warehouse:
    if settings.warehouse == "bigquery":
        return _bigquery(settings, service)
    return _duckdb(settings, service)


def _bigquery(settings: Settings, service: Service) -> Warehouse:
    from convergence.store import fleet

    try:
        from convergence.warehouse.bigquery.access import Clients
        from convergence.warehouse.bigquery.jobs import ByteLimit
        from convergence.warehouse.bigquery.warehouse import BigqueryWarehouse
    except ModuleNotFoundError as error:
        raise _client_missing("CDP_WAREHOUSE=bigquery needs", error) from error

    def limits(dataset: str) -> Iterator[ByteLimit]:
        if (most := settings.bigquery_max_bytes) is not None:
            yield ByteLimit(most, "CDP_BIGQUERY_MAX_BYTES", "raise CDP_BIGQUERY_MAX_BYTES")
        with service.database.read() as tx:
            own = fleet.byte_limit_of(tx, dataset)
        if own is not None:
            yield ByteLimit(own, "the tenant's limit", "raise it: cdp quota set TENANT --bytes")

    clients = Clients(
        settings.project_id,
        location=settings.bigquery_location,
        access_of=lambda dataset: access_of(settings, service, dataset),
        endpoint=settings.bigquery_endpoint,
    )
    return BigqueryWarehouse(
        clients,
        now=lambda: service.clock.now(),  # noqa: PLW0108 - the clock may be another later
        limits=limits,
        job_seconds=settings.bigquery_job_seconds,
        memory_limit=settings.memory_limit,
        threads=settings.threads,
    )


def bigquery_alone(settings: Settings) -> Warehouse:
    """BigQuery as the process itself reaches it, for who has no store yet."""
    try:
        from convergence.warehouse.bigquery.access import Access, Clients
        from convergence.warehouse.bigquery.warehouse import BigqueryWarehouse
    except ModuleNotFoundError as error:
        raise _client_missing("CDP_WAREHOUSE=bigquery needs", error) from error

    access = Access(key_file=settings.bigquery_key_file, impersonate=settings.bigquery_impersonate)
    clients = Clients(
        settings.project_id,
        location=settings.bigquery_location,
        access_of=lambda _: access,
        endpoint=settings.bigquery_endpoint,
    )
    return BigqueryWarehouse(clients, now=SystemClock().now)


def access_of(settings: Settings, service: Service, dataset: str) -> "Access":
    """How a dataset in BigQuery is reached: as its tenant says in the store, else as all are."""
    from convergence.engine import credentials
    from convergence.store import fleet
    from convergence.warehouse.bigquery.access import Access

    with service.database.read() as tx:
        own = fleet.credential_of(tx, dataset)
    if own is None:
        return Access(
            key_file=settings.bigquery_key_file, impersonate=settings.bigquery_impersonate
        )
    if own.sealed is None:
        return Access(key_file=settings.bigquery_key_file, impersonate=own.account)
    return Access(key=credentials.secret_of(service, own))


def _duckdb(settings: Settings, service: Service) -> Warehouse:
    from convergence.store import fleet, sources
    from convergence.warehouse.duckdb.warehouse import DuckdbWarehouse
    from convergence.warehouse.folders import folder_of

    check_files(service)

    def folders(dataset: str) -> tuple[Path, ...]:
        """The folders that a dataset's tenant may read files from."""
        with service.database.read() as tx:
            tenant = fleet.tenant_of_dataset(tx, dataset)
            granted = sources.granted(tx, tenant.tenant_id) if tenant else ()
        return tuple(sorted({folder_of(source.files) for source in granted if source.files}))

    return DuckdbWarehouse(
        service.config.home,
        folders=folders,
        memory_limit=settings.memory_limit,
        threads=settings.threads,
    )
