"""A tenant's subscription: whether it may run anything at all, and until when."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from convergence.errors import Forbidden


class SubscriptionStatus(StrEnum):
    ACTIVE = "ACTIVE"
    TRIAL = "TRIAL"
    INACTIVE = "INACTIVE"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Both dates are UTC days, still included; the later one counts, and without one it lasts."""

    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    trial_end_date: date | None = None
    subscription_end_date: date | None = None

    @property
    def last_day(self) -> date | None:
        days = (self.trial_end_date, self.subscription_end_date)
        return max((day for day in days if day is not None), default=None)


def ended(subscription: Subscription, today: date) -> str | None:
    """That it is over already, as a sentence for who has just changed it."""
    last = subscription.last_day
    if last is None or last >= today:
        return None
    return f"its last day, {last}, lies in the past: no run is admitted"


def check_subscription(subscription: Subscription, today: date) -> None:
    """Raise Forbidden when no run may be admitted: subscription_inactive, subscription_expired."""
    if subscription.status is SubscriptionStatus.INACTIVE:
        raise Forbidden(
            "The subscription is not active",
            code="subscription_inactive",
            hint="the operator can make it active again: cdp tenants plan TENANT --status ACTIVE",
        )
    last = subscription.last_day
    is_over = last is not None and last < today
    if is_over or subscription.status is SubscriptionStatus.EXPIRED:
        what = "trial" if subscription.status is SubscriptionStatus.TRIAL else "subscription"
        raise Forbidden(
            f"The {what} has ended" + (f" after {last}" if is_over else ""),
            code="subscription_expired",
            hint="the operator can extend it: cdp tenants plan TENANT --until YYYY-MM-DD",
        )
