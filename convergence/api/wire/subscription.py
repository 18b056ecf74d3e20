"""Subscriptions: plan, state and dates."""

from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from convergence.api.wire.shape import In, Out
from convergence.api.wire.usage import LimitNumbers
from convergence.engine.subscribe import Subscribed
from convergence.model.subscription import SubscriptionStatus
from convergence.model.tenant import Plan


def _check_no_number(value: object) -> object:
    """A number would be read as a moment, in seconds since 1970."""
    if isinstance(value, bool | int | float):
        raise PydanticCustomError("date_type", "must be a date, such as 2024-11-30")
    return value


Day = Annotated[date | None, Field(strict=False), BeforeValidator(_check_no_number)]


class SubscriptionPatch(In):
    """What to change; what is absent stays. A date of null takes the date away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan_name": "PROFESSIONAL"}]})

    plan_name: Annotated[Plan | None, Field(strict=False)] = None
    status: Annotated[SubscriptionStatus | None, Field(strict=False)] = None
    trial_end_date: Day = None
    subscription_end_date: Day = None

    @property
    def changes(self) -> dict[str, Any]:
        """Fields of `Subscription`. A state cannot be taken away, a date can."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"plan_name"}}
        return {name: value for name, value in given.items() if name != "status" or value}


class SubscriptionOut(Out):
    """`notice` says which limits the present use is above (what runs goes on, new runs wait), and
    that the last day lies in the past.
    """

    subscription_id: str
    tenant_id: str
    plan_name: Plan
    status: SubscriptionStatus
    trial_end_date: date | None
    subscription_end_date: date | None
    limits: LimitNumbers
    notice: str | None


def subscription_out(of: Subscribed) -> SubscriptionOut:
    return SubscriptionOut(
        subscription_id=of.tenant.subscription_id,
        tenant_id=of.tenant.tenant_id,
        plan_name=of.tenant.plan,
        status=of.subscription.status,
        trial_end_date=of.subscription.trial_end_date,
        subscription_end_date=of.subscription.subscription_end_date,
        limits=LimitNumbers.model_validate(of.limits),
        notice=of.notice,
    )
