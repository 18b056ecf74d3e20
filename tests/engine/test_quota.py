"""What a tenant may run: the cases of the source documents, plans that change, subscriptions."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from convergence.engine.cancel import cancel
from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import onboard
from convergence.engine.retry import retry
from convergence.engine.service import Service
from convergence.engine.subscribe import look, subscribe
from convergence.errors import Forbidden, QuotaExceeded
from convergence.model.run import LaunchRequest, RetryRequest, Run
from convergence.model.subscription import SubscriptionStatus
from convergence.model.tenant import PLAN_LIMITS, Plan
from convergence.store import notifications, usage
from tests.conftest import application
from tests.engine.conftest import Act
from tests.fakes import FakeClock

TEMPLATE = """\
pipeline_id: "{tenant_id}-test"
description: a test
variables: {n: "0"}
steps:
  - {step_id: a, ps_type: test.act}
"""


class Tenant:
    """Asks for one run after another."""

    def __init__(self, service: Service, plan: str) -> None:
        onboard(service, application("small", plan=plan))
        self.service = service
        self.numbers = count()

    def ask(self) -> Run:
        request = LaunchRequest(
            tenant_id="small",
            template="test/engine/steps",
            variables={"n": str(next(self.numbers))},
        )
        return launch(self.service, request).run

    def answers(self, triggers: int, *, ends: bool) -> list[str]:
        """`run`, or the code of the refusal."""
        return [self._answer(ends=ends) for _ in range(triggers)]

    def _answer(self, *, ends: bool) -> str:
        try:
            run = self.ask()
        except QuotaExceeded as refusal:
            return refusal.code
        if ends:
            Executor(service=self.service, worker="w").walk("small", run.run_id)
        return "run"


@pytest.fixture
def on_plan(service: Service, act: Act, tmp_path: Path) -> Callable[[str], Tenant]:
    (tmp_path / "configs/test/engine/steps.yml").write_text(TEMPLATE)
    return lambda plan: Tenant(service, plan)


@pytest.fixture
def small(on_plan: Callable[[str], Tenant]) -> Tenant:
    return on_plan("STARTER")


def test_eight_triggers_of_a_starter_are_six_runs(small: Tenant) -> None:
    assert small.answers(8, ends=True) == ["run"] * 6 + ["quota_exceeded.daily"] * 2


def test_five_at_once_on_professional_are_three_runs(on_plan: Callable[[str], Tenant]) -> None:
    answers = on_plan("PROFESSIONAL").answers(5, ends=False)
    assert answers == ["run"] * 3 + ["quota_exceeded.concurrent"] * 2


def test_six_runs_a_day_for_three_days_are_eighteen_of_the_month(
    service: Service, small: Tenant, clock: FakeClock
) -> None:
    for _ in range(3):
        assert small.answers(6, ends=True) == ["run"] * 6
        clock.advance(days=1)
    with service.database.read() as tx:
        assert usage.use(tx, "small", clock.now().date()).month == 18


def test_a_used_up_day_leaves_the_next_one_whole(
    on_plan: Callable[[str], Tenant], clock: FakeClock
) -> None:
    tenant = on_plan("PROFESSIONAL")
    assert tenant.answers(26, ends=True) == ["run"] * 25 + ["quota_exceeded.daily"]
    clock.advance(days=1)
    assert tenant.answers(5, ends=True) == ["run"] * 5


def test_a_used_up_month_is_refused_until_the_next(
    service: Service, small: Tenant, clock: FakeClock
) -> None:
    for _ in range(30):
        clock.advance(days=1)
        small.answers(6, ends=True)
        if clock.now().day == 30:
            break
    with service.database.read() as tx:
        month = usage.use(tx, "small", clock.now().date()).month
    assert month == 25 * 6
    subscribe(service, "small", plan=Plan.SCALE)
    assert small.answers(1, ends=True) == ["run"]


def test_the_warning_is_written_once_a_day(service: Service, small: Tenant) -> None:
    small.answers(6, ends=True)
    with service.database.read() as tx:
        (warning,) = notifications.newest(tx, "small", limit=10)
    assert "5 of 6 runs of today used" in warning.subject


def test_a_cancelled_run_frees_its_slot_and_has_counted(service: Service, small: Tenant) -> None:
    run = small.ask()
    assert small.answers(1, ends=False) == ["quota_exceeded.concurrent"]
    cancel(service, "small", run.run_id)
    assert small.answers(1, ends=False) == ["run"]
    with service.database.read() as tx:
        assert usage.use(tx, "small", run.created_at.date()).today == 2


def test_a_downgrade_below_the_present_use_holds_for_new_runs(
    service: Service, on_plan: Callable[[str], Tenant]
) -> None:
    tenant = on_plan("PROFESSIONAL")
    live = [tenant.ask() for _ in range(3)]
    changed = subscribe(service, "small", plan=Plan.STARTER)
    assert (changed.tenant.plan, changed.limits) == (Plan.STARTER, PLAN_LIMITS[Plan.STARTER])
    assert changed.notice == (
        "3 runs are live, the limit is 1 now: what runs goes on, no new one starts"
    )
    assert tenant.answers(1, ends=False) == ["quota_exceeded.concurrent"]
    for run in live:
        Executor(service=service, worker="w").walk("small", run.run_id)
    assert tenant.answers(1, ends=True) == ["run"]
    assert look(service, "small").notice is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": SubscriptionStatus.INACTIVE}, "subscription_inactive"),
        ({"status": SubscriptionStatus.EXPIRED}, "subscription_expired"),
    ],
)
def test_a_subscription_that_is_over_runs_nothing(
    service: Service, small: Tenant, changes: dict[str, object], code: str
) -> None:
    run = small.ask()
    Executor(service=service, worker="w").walk("small", run.run_id)
    subscribe(service, "small", plan=None, changes=changes)
    again = RetryRequest(tenant_id="small", run_id=run.run_id, is_whole=True)
    for asks in (small.ask, lambda: retry(service, again)):
        with pytest.raises(Forbidden) as refused:
            asks()
        assert refused.value.code == code
    subscribe(service, "small", plan=None, changes={"status": SubscriptionStatus.ACTIVE})
    assert small.answers(1, ends=True) == ["run"]


@pytest.mark.parametrize("ends", ["trial_end_date", "subscription_end_date"])
def test_the_last_day_of_a_subscription_still_counts(
    service: Service, small: Tenant, clock: FakeClock, ends: str
) -> None:
    today = clock.now().date()
    subscribe(service, "small", plan=None, changes={ends: today})
    assert small.answers(1, ends=True) == ["run"]
    clock.advance(days=1)
    with pytest.raises(Forbidden, match=f"has ended after {today}"):
        small.ask()
    later = {"subscription_end_date": today + timedelta(days=30)}
    subscribe(service, "small", plan=None, changes=later)
    assert small.answers(1, ends=True) == ["run"]
