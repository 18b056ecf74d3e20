"""The queue of the durable engine, when what it stands on is away."""

import pytest

from convergence.engine.service import Service
from convergence.engine.work import DurableQueue
from convergence.errors import Unavailable


def test_a_queue_whose_database_dies_as_it_is_opened_is_unavailable(service: Service) -> None:
    away = "postgresql+psycopg://cdp@/none?host=/nowhere"
    with pytest.raises(Unavailable) as refused:
        DurableQueue(service.database, away, service.step_types)
    assert refused.value.code == "store_unavailable"
