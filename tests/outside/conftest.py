"""What the tests of the places outside share."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from typing_extensions import override

from convergence.outside.clock import Clock

NOON = datetime(2024, 11, 1, 12, tzinfo=UTC)


class StoppedClock(Clock):
    @override
    def now(self) -> datetime:
        return NOON


@pytest.fixture
def clock() -> Clock:
    return StoppedClock()


class MailServer(Controller):
    """A real one, on a free port."""

    @override
    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@pytest.fixture
def listen() -> Iterator[Callable[..., int]]:
    """Start mail servers: `listen(handler, **options of aiosmtpd)` gives the port."""
    with ExitStack() as servers:

        def start(handler: object, **options: Any) -> int:  # noqa: ANN401 - those of aiosmtpd
            server = MailServer(handler, "127.0.0.1", 0, **options)
            server.start()
            servers.callback(server.stop)
            return server.port

        yield start
