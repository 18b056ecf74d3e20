"""What the tests of the places outside share."""

from datetime import UTC, datetime

import pytest
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
