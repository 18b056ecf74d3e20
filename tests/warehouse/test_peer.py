"""The statements whose answers were worked out by hand, on an independent BigQuery as well."""

import json
from collections.abc import Iterator

import pytest

from tests.warehouse.peer import KNOWN, Peer, PeerMissingError, is_same
from tests.warehouse.test_statements import STATEMENTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ANSWERED = [(sql, json.loads(said)) for sql, said in STATEMENTS if not said.startswith("error: ")]
"""The others are about what is refused here."""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    try:
        started = Peer(tmp_path_factory.mktemp("peer"))
    except PeerMissingError as missing:
        pytest.skip(f"BIGQUERY'S PEER IS NOT ASKED: {missing}")
    yield started
    started.stop()


def test_an_independent_bigquery_answers_the_same_but_for_its_known_faults(peer: Peer) -> None:
    differing = []
    for sql, expected in ANSWERED:
        wanted = expected if isinstance(expected, list) else [[expected]]
        found = peer.answer(sql)
        if not is_same(found, wanted):
            differing.append((sql, wanted, found))
    assert [each for each in differing if each[0] not in KNOWN] == []
    assert len(ANSWERED) - len(differing) >= 400
    assert {sql for sql, _, _ in differing} == KNOWN, "what is no fault of it any more"
