"""What a demo says at its end: the costs of each tenant, the proof, and the run that failed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from convergence.cli.command import Call
from convergence.cli.output import Format, say, show_rows, write, write_table
from convergence.engine import costs, demo, sample
from convergence.engine.demo import GUESTS, Guest
from convergence.engine.sample import Made
from convergence.engine.service import Service
from convergence.model import trend
from convergence.model.cost import CostQuery, Dimension

TOP = 8
SHOWN_DAYS = 30
COLUMNS = ("service", "month_to_date", "same_days_before", "change", "last_30_days")
CENT = Decimal("0.01")
ALL = "all"
Daily = Mapping[date, Decimal]


def show(service: Service, made: Made, call: Call) -> None:
    """The costs on stdout; what else there is to say on stderr."""
    last = made.sample.last
    rows = {guest: list(_rows(service, guest, last)) for guest in GUESTS}
    if call.format is not Format.TABLE:
        flat = [
            {"tenant_id": guest.tenant_id, "currency": guest.account.currency} | row
            for guest in GUESTS
            for row in rows[guest]
        ]
        show_rows(flat, ("tenant_id", "currency", *COLUMNS), call.format)
    else:
        for guest in GUESTS:
            write(f"\n{guest.tenant_id}, {guest.account.currency}, {_title(last)}")
            write_table(rows[guest], COLUMNS)
        write("")
    _prove(service, made)
    _tell_failure(service, made)


def _title(last: date) -> str:
    (first, _), (before, until) = trend.month_to_date(last), trend.same_days_before(last)
    return f"{first} to {last}, beside {before} to {until}; net of credits"


def _rows(service: Service, guest: Guest, last: date) -> Iterator[dict[str, Any]]:
    """A row for each of the largest services, and one for all."""
    daily = _daily(service, guest, last)
    this = trend.month_to_date(last)
    ranked = sorted(daily, key=lambda name: _between(daily[name], *this), reverse=True)
    for name in [*[each for each in ranked if each != ALL][:TOP], ALL]:
        now = _between(daily[name], *this)
        before = _between(daily[name], *trend.same_days_before(last))
        days = [last - timedelta(days=back) for back in reversed(range(SHOWN_DAYS))]
        yield {
            "service": name,
            "month_to_date": format(now.quantize(CENT), "f"),
            "same_days_before": format(before.quantize(CENT), "f"),
            "change": trend.change(now, before),
            "last_30_days": trend.sparkline([daily[name].get(day, Decimal(0)) for day in days]),
        }


def _daily(service: Service, guest: Guest, last: date) -> Mapping[str, Daily]:
    """The net costs of each service, and of all, by day."""
    first = min(trend.same_days_before(last)[0], last - timedelta(days=SHOWN_DAYS))
    question = CostQuery(date_from=first, date_to=last, group_by=(Dimension.DAY, Dimension.SERVICE))
    found = costs.summary(service, guest.tenant_id, question)
    names = [name for name, _ in found.columns]
    daily: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for values in found.rows:
        row = dict(zip(names, values, strict=True))
        for name in (row["service_description"], ALL):
            daily[name][row["day"]] += row["net"]
    return daily


def _between(daily: Daily, first: date, last: date) -> Decimal:
    return sum((net for day, net in daily.items() if first <= day <= last), Decimal(0))


def _prove(service: Service, made: Made) -> None:
    if demo.missing(service, made):
        return
    rows = sum(sample.total(made, guest.account).rows for guest in GUESTS)
    broken = ", but for the day whose file is broken" if _broken(made) else ""
    say(f"{rows} rows: each day's totals are those known beforehand, to the last digit{broken}")


def _broken(made: Made) -> bool:
    return any(made.broken(guest.account) for guest in GUESTS)


def _tell_failure(service: Service, made: Made) -> None:
    run = demo.failure(service, made)
    if run is None:
        return
    say(f"one run failed, on purpose: {run.tenant_id} {run.run_date}: {run.error}")
    say(f"try: cdp runs show {run.run_id}")
    say("try: cdp sample generate --mend, then cdp demo")
