"""The checks of `cdp doctor`. Each gives one row, whatever it meets."""

import os
import platform
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from glob import iglob
from pathlib import Path
from typing import Any

from convergence import wiring
from convergence.cli import db, serve
from convergence.cli.homes import alone
from convergence.engine.agree import files_place, holds_files
from convergence.engine.service import Service
from convergence.errors import CdpError, Conflict, StepFailed
from convergence.library import Library
from convergence.model.run import RunFilter
from convergence.outside.home import Holder, Home
from convergence.outside.smtp import parse_server
from convergence.settings.fields import Settings, origins
from convergence.store import fleet, workers
from convergence.warehouse.base import Warehouse

OK, WARN, FAIL = "ok", "warn", "fail"
OLDEST, TOO_NEW = (3, 11), (3, 14)
NOT_YET = "not there yet: made at the first use"
MAIL_SECONDS = 2
SKEW_SECONDS = 5
LOW, VERY_LOW = 5 * 10**9, 5 * 10**8
"""Bytes of free disk."""

Row = dict[str, Any]
Seen = tuple[str, str, str]
"""Status, what was seen, how to fix it."""


def checkup(settings: Settings) -> list[Row]:
    """Every check, in an order in which the first failure explains the later ones."""
    holder = Home(settings.home).holder()
    rows = [
        _row("python", _python),
        _row("sqlite", lambda: (OK, sqlite3.sqlite_version, "")),
        _row("home", lambda: _home(settings)),
        _row("storage", lambda: _storage(settings)),
        _row("disk", lambda: _disk(settings)),
        _row("secret files", lambda: _secret_files(settings)),
        _row("port", lambda: _port(settings, holder)),
        _row("operator's key", lambda: _operators_key(settings)),
        _row("mail", lambda: _mail(settings)),
        _row("alerts", lambda: _alerts(settings)),
        _row("store", lambda: _store(settings)),
    ]
    if holder is not None:
        seen = (
            f"process {holder.pid} works in this home, since {holder.started_at}, and has it for "
            "itself: engine, warehouse, templates and sources are checked while none does"
        )
        return [*rows, _row("process", lambda: (OK, seen, ""))]
    return [*rows, *_inside(settings)]


def _inside(settings: Settings) -> list[Row]:
    """The checks that need the home for themselves; a home that is not made yet stays so."""
    if not _is_made(settings):
        return [
            _row("engine", lambda: (OK, NOT_YET, "")),
            _row("warehouse", lambda: _unmade_warehouse(settings)),
            *_templates(wiring.library(settings)),
        ]
    try:
        with alone(settings) as service:
            return [
                _row("engine", lambda: _engine(service)),
                _row("clock", lambda: _clock(service)),
                _row("warehouse", lambda: _warehouse(service)),
                _row("tenants", lambda: _tenants(service)),
                *_templates(service.library),
                *_sources(service),
            ]
    except CdpError as error:
        return [_failed("parts", error)]


def _row(name: str, check: Callable[[], Seen]) -> Row:
    try:
        status, seen, fix = check()
    except CdpError as error:
        return _failed(name, error)
    return {"check": name, "status": status, "seen": seen, "fix": fix}


def _failed(name: str, error: CdpError) -> Row:
    return {"check": name, "status": FAIL, "seen": error.detail, "fix": error.hint}


def _python() -> Seen:
    seen = f"{platform.python_version()} on {platform.system()}"
    if OLDEST <= sys.version_info < TOO_NEW:
        return OK, seen, ""
    return FAIL, seen, "use Python 3.11, 3.12 or 3.13"


def _home(settings: Settings) -> Seen:
    if settings.home.exists():
        return OK, f"{Home(settings.home).ensure()} can be written", ""
    above = _there(settings.home)
    if os.access(above, os.W_OK | os.X_OK):
        return OK, f"{settings.home} is {NOT_YET}", ""
    return FAIL, f"{settings.home} cannot be made: {above} is not writable", "choose CDP_HOME"


def _storage(settings: Settings) -> Seen:
    """Where each kind of state really is, whatever the settings were meant to say."""
    url = settings.database_url_text()
    is_file = url.startswith("sqlite")
    store = url.removeprefix("sqlite:///") if is_file else f"PostgreSQL {_without_login(url)}"
    is_shared = settings.warehouse == "bigquery"
    project = f"BigQuery, project {settings.project_id}"
    warehouse = project if is_shared else settings.home / "warehouse"
    templates = settings.configs_dir or wiring.shipped_configs()
    return OK, f"store {store}; tenants' tables {warehouse}; templates {templates}", ""


def _without_login(url: str) -> str:
    """The place of a database; who logs in there is nobody's business."""
    return url.partition("://")[2].rpartition("@")[2]


def _operators_key(settings: Settings) -> Seen:
    origin = origins(settings)["admin_key"]
    if origin != "default":
        return OK, f"given by the {origin}", ""
    if settings.disable_auth:
        return WARN, "nobody needs a key here (DISABLE_AUTH)", "leave DISABLE_AUTH out"
    return OK, f"in {settings.home / 'admin.key'}, made at the first use", ""


def _alerts(settings: Settings) -> Seen:
    allowed = ", ".join(sorted(settings.alert_allow))
    return OK, f"to the tenants' administrators{', and ' + allowed if allowed else ' alone'}", ""


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _is_made(settings: Settings) -> bool:
    """Whether all that an opened home holds is there, so that opening it makes nothing."""
    given = {
        "control.db": settings.database_url,
        "pepper": settings.pepper,
        "admin.key": settings.admin_key,
    }
    return all(value or (settings.home / name).exists() for name, value in given.items())


def _disk(settings: Settings) -> Seen:
    free = shutil.disk_usage(_there(settings.home)).free
    seen = f"{free / 10**9:.1f} GB free"
    if free >= LOW:
        return OK, seen, ""
    return WARN if free >= VERY_LOW else FAIL, seen, "free some space, or move CDP_HOME"


def _secret_files(settings: Settings) -> Seen:
    files = [path for name in ("admin.key", "pepper") if (path := settings.home / name).exists()]
    open_ones = [str(path) for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_ones:
        return FAIL, f"others may read {', '.join(open_ones)}", f"chmod 600 {' '.join(open_ones)}"
    seen = ", ".join(path.name for path in files)
    return OK, f"{seen} with mode 0600" if seen else "none yet", ""


def _port(settings: Settings, holder: Holder | None) -> Seen:
    try:
        serve.listen(settings.host, settings.port).close()
    except Conflict as error:
        if holder is not None and holder.url.endswith(f":{settings.port}"):
            return OK, f"this home's server listens at {holder.url}", ""
        return FAIL, error.detail, error.hint
    return OK, f"{settings.host} port {settings.port} is free", ""


def _mail(settings: Settings) -> Seen:
    if settings.smtp_url is None:
        return WARN, "no mail server is set, so no mail is sent", "set CDP_SMTP_URL"
    server = parse_server(settings.smtp_url.get_secret_value())
    try:
        server.greet(MAIL_SECONDS)
    except StepFailed as error:
        return WARN, error.detail, error.hint or "check CDP_SMTP_URL"
    return OK, f"{server.host} port {server.port} answers", ""


def _store(settings: Settings) -> Seen:
    row = db.store_state(settings)
    is_fine = row["state"] == db.CURRENT or settings.database_url is None
    if row["state"] == db.CURRENT:
        db.check_store(settings)
    return (OK, row["detail"], "") if is_fine else (FAIL, row["detail"], "cdp db migrate")


def _engine(service: Service) -> Seen:
    _ = service.queue
    with service.database.read() as tx:
        return OK, f"its tables answer; {len(fleet.live_runs(tx))} runs are live", ""


def _clock(service: Service) -> Seen:
    """A clock that is behind would find runs and keys of the future, and leases that never end."""
    now = service.clock.now()
    with service.database.read() as tx:
        others = [workers.clock(tx)]
        newest = fleet.page_runs(tx, RunFilter(), limit=1, before=None)
    others += [run.created_at for run in newest if run.created_at > now]
    seconds = max(abs(other - now).total_seconds() for other in others)
    if seconds <= SKEW_SECONDS:
        return OK, f"{now:%Y-%m-%d %H:%M} UTC, as the store has it", ""
    seen = f"this machine's clock, {now:%Y-%m-%d %H:%M} UTC, is {seconds:.0f} s from the store's"
    return FAIL, seen, "let the machine take its time from the network: timedatectl set-ntp true"


def _warehouse(service: Service) -> Seen:
    if not holds_files(service):
        place = files_place(service.database) or "no home yet: the first worker's becomes it"
        return OK, f"the tenants' tables are in {place}", ""
    if service.config.is_warehouse_shared:
        return _bigquery(service.warehouse, service.config.project)
    service.warehouse.check()
    return OK, f"{service.home.path / 'warehouse'} can be written", ""


def _unmade_warehouse(settings: Settings) -> Seen:
    if settings.warehouse != "bigquery":
        return OK, NOT_YET, ""
    with closing(wiring.bigquery_alone(settings)) as warehouse:
        return _bigquery(warehouse, settings.project_id)


def _bigquery(warehouse: Warehouse, project: str) -> Seen:
    unknown = warehouse.check_new_datasets()
    seen = f"BigQuery answers for project {project}"
    return OK, f"{seen}; {unknown}" if unknown else f"{seen}, and datasets can be made", ""


def _tenants(service: Service) -> Seen:
    here = service.config.warehouse
    with service.database.read() as tx:
        away = sorted(fleet.elsewhere(tx, here))
    if not away:
        return OK, f"the tables of all are in {here}", ""
    seen = f"the tables of {', '.join(away[:5])}{' …' if away[5:] else ''} are not in {here}"
    return FAIL, seen, f"cdp tenants move {away[0]} --to {here}, or another CDP_WAREHOUSE"


def _templates(library: Library) -> list[Row]:
    return [_row(f"template {ref}", partial(_template, library, ref)) for ref in library.refs()]


def _template(library: Library, ref: str) -> Seen:
    count = len(library.get(ref).steps)
    return OK, "1 step" if count == 1 else f"{count} steps", ""


def _sources(service: Service) -> list[Row]:
    with service.database.read() as tx:
        found = fleet.sources(tx)
    return [
        _row(f"source {source.table}", partial(_files, source.files))
        for source in found
        if source.files
    ]


def _files(files: str) -> Seen:
    matches = sum(1 for _ in iglob(files, recursive=True))  # noqa: PTH207 - absolute globs
    if not matches:
        return WARN, f"no file matches {files}", "check the glob; has the export arrived?"
    return OK, f"{matches} match {files}", ""
