"""Becoming the one process that works in a home. For commands that need more than the store."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from convergence import wiring
from convergence.engine.service import Service
from convergence.errors import Conflict, Unavailable
from convergence.model.tenant import WarehouseKind
from convergence.outside.home import Home, HomeLock
from convergence.settings.fields import Settings

HOME_SECONDS = 30
"""How long a busy home is waited for."""


def take_home(home: Home) -> HomeLock:
    """Become the one process that works in this home. Raises Unavailable when it stays busy.

    What a command has takes a moment, and is waited for; a server stays.
    """
    holder = home.holder()
    try:
        return home.lock(0 if holder and holder.url else HOME_SECONDS)
    except Conflict as busy:
        raise Unavailable(busy.detail, code=busy.code, hint=busy.hint) from busy


@contextmanager
def alone_beside(settings: Settings, to: WarehouseKind) -> Iterator[tuple[Service, Service]]:
    """The parts with the one warehouse and with `to`, on one store, as `alone` has them."""
    kinds = [kind for kind in WarehouseKind if kind is not to]
    with take_home(Home(Home(settings.home).ensure())), ExitStack() as stack:
        made = [
            wiring.build(settings.model_copy(update={"warehouse": kind.value}))
            for kind in (*kinds, to)
        ]
        for service in made:
            stack.callback(service.close)
        yield made[0], made[1]


@contextmanager
def alone(settings: Settings) -> Iterator[Service]:
    """The parts, in a home that no other process works in."""
    with take_home(Home(Home(settings.home).ensure())):
        service = wiring.build(settings)
        try:
            yield service
        finally:
            service.close()
