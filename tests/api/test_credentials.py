"""Cloud credentials: sealed, never shown, refused where they would have us call elsewhere."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from starlette.testclient import TestClient

from convergence.engine import costs, ledger
from convergence.engine.service import Service
from convergence.settings.fields import Settings
from convergence.store import fleet
from convergence.wiring import access_of
from tests.api.conftest import Keys

PATH = "/api/v1/tenants/acme/credentials"
ACCOUNT = "cdp-acme@my-project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def key() -> dict[str, Any]:
    """A service account's key; of a kind that is quickly made."""
    made = ec.generate_private_key(ec.SECP256R1())
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "0123456789abcdef",
        "private_key": pem.decode(),
        "client_email": ACCOUNT,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def test_a_key_is_kept_sealed_and_never_shown(
    acme: TestClient, service: Service, key: dict[str, Any]
) -> None:
    kept = acme.put(f"{PATH}/gcp", json={"credentials_json": key, "description": "loads"})
    assert kept.status_code == 200, kept.text
    secret = key["private_key"].splitlines()[1]
    shown = acme.get(PATH)
    assert shown.json()["items"] == [kept.json()] == [acme.get(f"{PATH}/gcp").json()]
    assert (kept.json()["account"], kept.json()["fingerprint"]) == (ACCOUNT, "0123456789ab")
    assert secret not in shown.text
    with service.database.read() as tx:
        stored = fleet.credential_of(tx, "acme")
    assert stored is not None
    assert stored.sealed is not None
    assert secret.encode() not in stored.sealed
    found = access_of(Settings(home=service.home.path), service, "acme")
    assert secret in found.key
    assert secret not in repr((stored, found))


def test_a_tenant_sees_of_its_credentials_what_tells_them_apart(
    acme: TestClient, service: Service, key: dict[str, Any]
) -> None:
    acme.put(f"{PATH}/gcp", json={"credentials_json": key})
    assert acme.delete(f"{PATH}/gcp").status_code == 204
    ledger.publish(service)
    sql = "SELECT encrypted_credential, is_active FROM x_meta_cloud_credentials"
    assert costs.query(service, "acme", sql).rows == [(f"{ACCOUNT} 0123456789ab", False)]


def test_removed_credentials_are_used_no_more(
    acme: TestClient, service: Service, key: dict[str, Any]
) -> None:
    acme.put(f"{PATH}/gcp", json={"credentials_json": key})
    assert acme.delete(f"{PATH}/gcp").status_code == 204
    assert acme.get(PATH).json()["items"] == []
    assert acme.get(f"{PATH}/gcp").status_code == acme.delete(f"{PATH}/gcp").status_code == 404
    settings = Settings(home=service.home.path, bigquery_impersonate="all@p.example")
    assert access_of(settings, service, "acme").impersonate == "all@p.example"


def test_an_account_to_act_as_is_the_operators_to_name(
    http: TestClient, keys: Keys, service: Service
) -> None:
    wanted = {"account": ACCOUNT}
    assert http.put(f"{PATH}/gcp", json=wanted, headers=keys.acme).status_code == 403
    kept = http.put(f"{PATH}/gcp", json=wanted, headers=keys.admin)
    assert (kept.status_code, kept.json()["credential_type"]) == (200, "impersonation")
    settings = Settings(home=service.home.path)
    assert access_of(settings, service, "acme").impersonate == ACCOUNT
    assert access_of(settings, service, "rival").impersonate == ""


@pytest.mark.parametrize(
    "change",
    [
        {"type": "external_account"},
        {"token_uri": "http://169.254.169.254/token"},
        {"universe_domain": "evil.example"},
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        {"private_key": ""},
        {"client_email": "nobody"},
        {"private_key_id": 7},
    ],
)
def test_what_is_no_key_of_google_is_refused_and_not_repeated(
    acme: TestClient, key: dict[str, Any], change: dict[str, Any]
) -> None:
    refused = acme.put(f"{PATH}/gcp", json={"credentials_json": key | change})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_credentials")
    assert "PRIVATE" not in refused.text
    assert acme.get(PATH).json()["items"] == []


def test_both_or_neither_is_refused(operator: TestClient, key: dict[str, Any]) -> None:
    for wrong in ({}, {"credentials_json": key, "account": ACCOUNT}):
        assert operator.put(f"{PATH}/gcp", json=wrong).status_code == 422
    assert operator.put(f"{PATH}/aws", json={"account": ACCOUNT}).status_code == 422
