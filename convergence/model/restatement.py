"""A restatement: an amount that was reported, and then became another; and why."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from convergence.model.money import Total


class Reason(StrEnum):
    """ARRIVING is no news: a bill is still coming in when its day is young."""

    ARRIVING = "arriving"
    LATE_ROW = "late_row"
    CORRECTION = "correction"
    CREDIT = "credit"
    SOURCE_REWRITTEN = "source_rewritten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key of a day whose totals a load changes. An absent side is all zero.

    `removed` counts rows that were there and are not any more, `corrections` those among the new
    ones that correct others.
    """

    invoice_month: str
    service_id: str
    project_id: str
    currency: str
    old: Total
    new: Total
    removed: int = 0
    corrections: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatement:
    """A change that was published. `position` orders those of one load."""

    load_id: str
    position: int
    table: str
    source: str
    usage_date: date
    invoice_month: str
    service_id: str
    project_id: str
    currency: str
    old: Total
    new: Total
    reason: Reason
    run_id: str
    old_run_id: str
    recorded_at: datetime


def reason_of(change: Change, day: date, *, today: date, arriving_days: int) -> Reason:
    """Why the key changed, by what its rows say."""
    if (today - day).days < arriving_days:
        return Reason.ARRIVING
    if change.removed:
        return Reason.SOURCE_REWRITTEN
    if change.corrections:
        return Reason.CORRECTION
    if change.new.cost == change.old.cost and change.new.credits != change.old.credits:
        return Reason.CREDIT
    return Reason.LATE_ROW


def money(value: Decimal) -> str:
    """A sum as the one text that stands for it, so that texts may be compared."""
    text = format(value, "f")
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return short if value else "0"
