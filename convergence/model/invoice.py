"""An invoice month as it ripens: its rows still arrive, may still be corrected, or are final."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from convergence.model.money import Total

_MONTH = re.compile(r"(2[0-9]{3})(0[1-9]|1[0-2])", re.ASCII)


class MonthState(StrEnum):
    """OPEN until the month ends, then SETTLING until it has not changed for long: CLOSED."""

    OPEN = "open"
    SETTLING = "settling"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One invoice month, cost type and currency: what the tables hold beside what the source
    held when it was read, and the runs that read it. `kept` are the sums that pages show.
    """

    invoice_month: str
    state: MonthState
    changed_at: datetime | None
    cost_type: str
    currency: str
    ours: Total
    kept: Total
    source: Total
    run_ids: tuple[str, ...]

    @property
    def difference(self) -> Decimal:
        """Net of ours less net of the source's."""
        return (self.ours + self.source.negated()).net

    @property
    def is_equal(self) -> bool:
        return self.ours == self.source == self.kept


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAccount:
    """An account of which more than one source has rows on the same days: costs that both tell
    count twice.
    """

    billing_account_id: str
    sources: tuple[str, ...]
    days: int
    first: date
    last: date


def month_state(
    month: str, changed_at: datetime | None, *, today: date, closing_days: int
) -> MonthState:
    """The state of an invoice month, `YYYYMM`. One that cannot be read as a month stays open."""
    end = _end(month)
    if end is None or today < end:
        return MonthState.OPEN
    latest = max(end, changed_at.date()) if changed_at else end
    return MonthState.CLOSED if (today - latest).days >= closing_days else MonthState.SETTLING


def month_of(invoice_month: str) -> str:
    """`YYYY-MM`; empty where it is no month."""
    found = _MONTH.fullmatch(invoice_month)
    return "-".join(found.groups()) if found else ""


def _end(month: str) -> date | None:
    """The first day after the month."""
    try:
        first = datetime.strptime(month, "%Y%m").date()  # noqa: DTZ007 - a month has no zone
        return (first + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError):
        return None
