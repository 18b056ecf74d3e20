from dataclasses import replace

import pytest

from convergence.errors import NotFound
from convergence.model.source import Grant, GrantedSource, Kind, Source
from convergence.store import fleet, sources
from convergence.store.database import WriteTx
from tests.store.conftest import NOW

SHARED = Source(
    table="p.d.export_*",
    files="/exports/*.parquet",
    kind=Kind.GCP_DETAILED,
    grants=(
        Grant(tenant_id="acme"),
        Grant(tenant_id="other", billing_account_ids=("A",), project_ids=("x", "y")),
    ),
)
OWN = Source(table="p.d.own", files=None, kind=Kind.AUTO, grants=(Grant(tenant_id="acme"),))


def test_a_source_is_what_was_put(tx: WriteTx) -> None:
    sources.put(tx, SHARED, now=NOW)
    sources.put(tx, OWN, now=NOW)
    assert fleet.sources(tx) == [SHARED, OWN]
    assert fleet.source(tx, "p.d.own") == OWN
    assert fleet.source(tx, "p.d.absent") is None


def test_a_tenant_sees_what_it_was_granted_narrowed(tx: WriteTx) -> None:
    sources.put(tx, SHARED, now=NOW)
    sources.put(tx, OWN, now=NOW)
    assert [source.table for source in sources.granted(tx, "acme")] == ["p.d.export_*", "p.d.own"]
    assert sources.granted(tx, "other") == (
        GrantedSource(
            table="p.d.export_*",
            files="/exports/*.parquet",
            kind=Kind.GCP_DETAILED,
            billing_account_ids=("A",),
            project_ids=("x", "y"),
        ),
    )


def test_putting_again_replaces_files_and_grants(tx: WriteTx) -> None:
    sources.put(tx, SHARED, now=NOW)
    later = Source(table=SHARED.table, files="/new/*.csv", kind=Kind.AUTO)
    sources.put(tx, later, now=NOW)
    assert fleet.sources(tx) == [later]
    assert sources.granted(tx, "acme") == ()


def test_a_grant_to_an_unknown_tenant_is_refused(tx: WriteTx) -> None:
    with pytest.raises(NotFound, match="nobody"):
        sources.put(tx, replace(OWN, grants=(Grant(tenant_id="nobody"),)), now=NOW)


def test_a_source_is_removed_with_its_grants(tx: WriteTx) -> None:
    sources.put(tx, SHARED, now=NOW)
    sources.remove(tx, SHARED.table)
    assert fleet.sources(tx) == []
    assert sources.granted(tx, "acme") == ()
    with pytest.raises(NotFound) as caught:
        sources.remove(tx, SHARED.table)
    assert caught.value.code == "source_not_found"
