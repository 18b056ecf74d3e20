"""Sessions of the dashboard: how one gets them, and when they end."""

from collections.abc import Callable

import pytest

from convergence.engine import administer, signin
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import CdpError, Forbidden, NotFound, Unauthenticated
from convergence.model.key import Scope
from convergence.model.tenant import TenantStatus
from convergence.store import keys, tenants
from tests.fakes import FakeClock


def code_of(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(CdpError) as caught:
        act(*arguments)
    return caught.value.code


def token_of(link: str) -> str:
    return link.partition("?link=")[2]


def test_tenants_key_gives_a_session_of_that_tenant(service: Service, tenant: Onboarded) -> None:
    session = signin.use_key(service, tenant.api_key)
    caller = signin.resume(service, session)
    assert (caller.tenant_id, caller.is_operator) == ("acme", False)


def test_operators_key_gives_a_session_of_the_operator(service: Service) -> None:
    session = signin.use_key(service, service.secrets.admin_key)
    assert signin.resume(service, session).is_operator


@pytest.mark.parametrize("text", ["", "cdp_test_x", "cdp_admin_0", "\ud800", "x" * 10_000])
def test_what_is_no_key_gives_no_session(service: Service, tenant: Onboarded, text: str) -> None:
    assert code_of(signin.use_key, service, text) == "invalid_key"


def test_key_that_may_not_read_gives_no_session(service: Service, tenant: Onboarded) -> None:
    _, text = administer.create_key(service, "acme", key_name="w", days=1, scopes=[Scope.WRITE])
    assert code_of(signin.use_key, service, text) == "scope_missing"


def test_link_signs_in_once(service: Service, tenant: Onboarded) -> None:
    token = token_of(signin.make_link(service, "acme"))
    assert signin.resume(service, signin.use_link(service, token)).tenant_id == "acme"
    assert code_of(signin.use_link, service, token) == "link_not_good"


def test_link_for_the_operator_signs_the_operator_in(service: Service) -> None:
    token = token_of(signin.make_link(service, None))
    assert signin.resume(service, signin.use_link(service, token)).is_operator


def test_link_is_good_for_ten_minutes(service: Service, clock: FakeClock) -> None:
    token = token_of(signin.make_link(service, None))
    clock.advance(minutes=10)
    assert code_of(signin.use_link, service, token) == "link_not_good"


def test_link_for_nobody_is_refused(service: Service) -> None:
    with pytest.raises(NotFound):
        signin.make_link(service, "nobody")


def test_session_ends_when_it_is_not_used(
    service: Service, tenant: Onboarded, clock: FakeClock
) -> None:
    session = signin.use_key(service, tenant.api_key)
    for _ in range(3):
        clock.advance(minutes=29)
        signin.resume(service, session)
    clock.advance(minutes=30)
    assert code_of(signin.resume, service, session) == "session_over"


def test_session_ends_after_twelve_hours_of_use(
    service: Service, tenant: Onboarded, clock: FakeClock
) -> None:
    session = signin.use_key(service, tenant.api_key)
    for _ in range(35):
        clock.advance(minutes=20)
        signin.resume(service, session)
    clock.advance(minutes=20)
    assert code_of(signin.resume, service, session) == "session_over"


def test_who_signs_out_has_no_session(service: Service, tenant: Onboarded) -> None:
    session = signin.use_key(service, tenant.api_key)
    signin.end(service, session)
    with pytest.raises(Unauthenticated):
        signin.resume(service, session)


def test_session_ends_with_its_key(service: Service, tenant: Onboarded) -> None:
    session = signin.use_key(service, tenant.api_key)
    with service.database.write() as tx:
        (key,) = keys.active(tx, "acme")
        keys.revoke(tx, "acme", key.key_id, now=service.clock.now())
    assert code_of(signin.resume, service, session) == "invalid_key"


def test_session_of_a_suspended_tenant_opens_nothing(service: Service, tenant: Onboarded) -> None:
    sessions = [
        signin.use_key(service, tenant.api_key),
        signin.use_link(service, token_of(signin.make_link(service, "acme"))),
    ]
    with service.database.write() as tx:
        tenants.update(tx, "acme", status=TenantStatus.SUSPENDED, now=service.clock.now())
    for session in sessions:
        with pytest.raises(Forbidden):
            signin.resume(service, session)


def test_the_store_holds_no_session_id_and_no_link(service: Service, tenant: Onboarded) -> None:
    session = signin.use_key(service, tenant.api_key)
    token = token_of(signin.make_link(service, None))
    service.close()
    kept = b"".join(path.read_bytes() for path in service.home.path.glob("control.db*"))
    assert kept
    assert session.encode() not in kept
    assert token.encode() not in kept
