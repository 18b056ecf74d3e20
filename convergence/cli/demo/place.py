"""Where a demo lives: a home that it made itself, marked as such; none with anybody's own data."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

from convergence import wiring
from convergence.cli.command import Call
from convergence.cli.days import today
from convergence.engine.demo import GUESTS, KEYS
from convergence.errors import Conflict, Invalid
from convergence.model.sample.export import Sample
from convergence.outside.home import Home, HomeLock
from convergence.settings.fields import Settings, origins
from convergence.store import fleet

MARK = "demo.json"
"""Says that a demo made this home, and on which day its bills begin."""
DATA = ("control.db", "control.db-shm", "control.db-wal", "warehouse", "logs", "sample", KEYS)
MADE = (*DATA, "admin.key", "pepper", MARK)
"""All that a demo makes in its home; the mark is the last to go."""
DAYS = 92
SEED = 1
FEW = 1000


def check(call: Call, settings: Settings) -> None:
    """Raise Invalid where a demo would leave its own home, or this machine; Conflict for a home
    whose server runs.
    """
    if call.server is not None:
        raise Invalid("a demo works on this machine, not on a server", hint="leave --server out")
    if settings.database_url is not None:
        raise Invalid(
            "a demo keeps its state in its home alone, and CDP_DATABASE_URL is set "
            f"({origins(settings)['database_url']})",
            code="home_not_demo",
            hint="env -u CDP_DATABASE_URL cdp demo",
        )
    _check_free(Home(settings.home))


@contextmanager
def taken(settings: Settings, *, reset: bool) -> Iterator[HomeLock]:
    """The demo's home, for this process alone. Raises Conflict for another's, or a busy one."""
    home = Home(settings.home)
    _check_strangers(home)
    home.ensure()
    with home.lock() as lock:
        _check_tenants(settings, home, reset=reset)
        if reset:
            _clear(home)
        mark = home.path / MARK
        if not mark.exists():
            first = today() - timedelta(days=DAYS)
            mark.write_text(json.dumps({"first": first.isoformat()}) + "\n", "utf-8")
        yield lock


def window(home: Home) -> Sample:
    """The days until yesterday, from the demo's first; so a later demo adds the days between."""
    try:
        first = date.fromisoformat(json.loads((home.path / MARK).read_text("utf-8"))["first"])
    except (OSError, ValueError, KeyError) as error:
        raise Conflict(
            f"{home.path / MARK} cannot be read: {error}",
            code="home_not_demo",
            hint="cdp demo --reset",
        ) from error
    return Sample(first=first, days=max((today() - first).days, 1), seed=SEED)


def _check_strangers(home: Home) -> None:
    """A folder with anything but a home's files is somebody's own."""
    if (home.path / MARK).exists() or not home.path.is_dir():
        return
    others = sorted(
        entry.name for entry in home.path.iterdir() if entry.name not in {*MADE, "lock"}
    )
    if others:
        raise _not_a_demo(home, f"holds other files: {', '.join(others[:5])}")


def _check_free(home: Home) -> None:
    holder = home.holder()
    if holder is not None and holder.url:
        raise Conflict(
            f"a server works in {home.path} already, at {holder.url}",
            code="home_busy",
            hint=f"open {holder.url}, or stop it (process {holder.pid}) and start the demo again",
        )


def _check_tenants(settings: Settings, home: Home, *, reset: bool) -> None:
    """Tenants that no demo made are real ones: it may run beside those that came later, but never
    clear them.
    """
    is_marked = (home.path / MARK).exists()
    if is_marked and not reset:
        return
    if not (home.path / "control.db").exists():
        return
    service = wiring.build(settings)
    try:
        with service.database.read() as tx:
            known = [tenant.tenant_id for tenant in fleet.tenants(tx, limit=FEW, after=None)]
    finally:
        service.close()
    others = sorted(set(known) - ({guest.tenant_id for guest in GUESTS} if is_marked else set()))
    if others:
        raise _not_a_demo(home, f"has the tenants {', '.join(others[:5])}, which no demo made")


def _not_a_demo(home: Home, why: str) -> Conflict:
    return Conflict(
        f"{home.path} {why}",
        code="home_not_demo",
        hint="give the demo a folder of its own: cdp demo --home .cdp-demo",
    )


def _clear(home: Home) -> None:
    for name in MADE:
        path = home.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
