from dataclasses import replace
from datetime import timedelta

import pytest

from convergence.errors import NotFound
from convergence.model.key import ApiKeyRecord
from convergence.store import fleet, keys
from convergence.store.database import WriteTx
from tests.store.conftest import NOW

KEY = ApiKeyRecord(
    key_id="k1",
    tenant_id="acme",
    key_hash="ab" * 32,
    pepper_version=1,
    key_name="first",
    scopes=("runs:read", "runs:trigger"),
    created_at=NOW,
    expires_at=NOW + timedelta(days=90),
)


def test_a_key_is_found_by_its_public_id(tx: WriteTx) -> None:
    keys.add(tx, KEY, now=NOW)
    assert fleet.key(tx, "k1") == KEY
    assert fleet.key(tx, "k2") is None
    assert keys.active(tx, "acme") == [KEY]
    assert keys.active(tx, "other") == []


def test_a_revoked_key_is_still_known_as_such(tx: WriteTx) -> None:
    keys.add(tx, KEY, now=NOW)
    for _ in range(2):
        keys.revoke(tx, "acme", "k1", now=NOW)
    assert keys.active(tx, "acme") == []
    assert fleet.key(tx, "k1") == replace(KEY, is_active=False)


def test_a_tenant_cannot_revoke_a_neighbours_key(tx: WriteTx) -> None:
    keys.add(tx, KEY, now=NOW)
    with pytest.raises(NotFound) as caught:
        keys.revoke(tx, "other", "k1", now=NOW)
    assert caught.value.code == "key_not_found"
    assert keys.active(tx, "acme") == [KEY]


def test_use_is_noted_at_most_once_a_minute(tx: WriteTx) -> None:
    keys.add(tx, KEY, now=NOW)
    noted = []
    for seconds in (0, 59, 60, 61):
        fleet.touch_key(tx, "k1", now=NOW + timedelta(seconds=seconds))
        key = fleet.key(tx, "k1")
        assert key is not None
        assert key.last_used_at is not None
        noted.append((key.last_used_at - NOW).seconds)
    assert noted == [0, 0, 60, 60]
    fleet.touch_key(tx, "k2", now=NOW)
