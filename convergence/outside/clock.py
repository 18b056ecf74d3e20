"""The clock: the one place where the time is read. Everything else is handed `now`."""

from datetime import UTC, datetime
from typing import Protocol

from typing_extensions import override


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class SystemClock(Clock):
    @override
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the clock that the ban points to
