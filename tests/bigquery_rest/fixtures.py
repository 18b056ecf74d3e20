"""The fixtures of the fake, for the conftest of whoever needs it to import by name."""

from collections.abc import Iterator

import pytest

from tests.bigquery_rest.server import Running, running


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[Running]:
    """One for all tests of a session; see bigquery_rest."""
    with running() as server:
        yield server


@pytest.fixture
def bigquery_rest(bigquery_server: Running) -> Running:
    """A BigQuery of our own, empty, with no faults planned."""
    bigquery_server.fake.reset()
    return bigquery_server
