"""Rows that have killed bills elsewhere: a list for each trap, the same each time.

Each trap has a service of its own, `service.id` is its name. All of it is one export.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.exports import export_row

Row = dict[str, Any]
LATE = "negation_and_remonetisation_on_a_later_invoice"
NEW = "column_that_appears_mid_month"
NEW_COLUMNS = ("price", "consumption_model", "cost_at_effective_price_default")
"""They appear mid-month: files before have none of them."""


def killers() -> dict[str, list[Row]]:
    """The rows by trap."""
    made = {
        "two_and_three_credits": _credits(),
        "two_credits_of_one_type_and_name": _equal_credits(),
        "tax_without_project": _tax(),
        "negation_and_remonetisation_on_a_later_invoice": _correction(),
        "promotion_that_ends": _promotion(),
        "spend_commitment_of_the_old_model": _old_commitment(),
        "spend_commitment_of_the_new_model": _new_commitment(),
        "twins_that_are_both_real": [_row(cost=0.125)] * 3,
        "days_of_23_and_25_pacific_hours": list(_pacific_hours()),
        "window_over_midnight": _midnight(),
        "two_currencies": [_row(currency=name, cost=cost) for name, cost in _CURRENCIES],
        "label_with_a_repeated_key": _labels(),
        "floats_of_15_decimals": [_row(cost=n, credits=[_credit(n)]) for n in _LONG],
        "floats_above_2_to_the_23": [_row(cost=n, credits=[_credit(-n)]) for n in _LARGE],
        "arrays_empty_and_null": _arrays(),
        "projects_empty_and_null": _projects(),
        "rates_of_any_kind": [_row(cost=1e9, currency_conversion_rate=rate) for rate in RATES],
        "column_that_appears_mid_month": [_row(cost=2.5, cost_at_effective_price_default=2.25)],
    }
    return {
        name: [row | {"service": {"id": name, "description": name}} for row in rows]
        for name, rows in made.items()
    }


_CURRENCIES = (("EUR", 3.1), ("USD", 4.2), ("EUR", 0.05))
RATES = (0.9123456789012, 98765432.1, 1e-12, 0.0, None, -1.1, 1e30)
_LONG = (0.123456789012345, 1e-9, 1.5e-9, 2.5e-9, -1.5e-9, 5.1e-15, 0.000000000499999, 7.1e-11)
_LARGE = (98765432.1, -8388608.000000001, 8388609.1, 123456789.123456789, 99999999.999999999)


def _row(day: date = date(2024, 10, 3), hour: int = 5, **changes: Any) -> Row:  # noqa: ANN401 - of whatever type
    start = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    times: Row = {
        "usage_start_time": start,
        "usage_end_time": start + timedelta(hours=1),
        "export_time": start + timedelta(hours=9),
        "invoice": {"month": f"{day:%Y%m}", "publisher_type": "GOOGLE"},
        "credits": [],
    }
    return export_row(**times | changes)


def _credit(amount: float, name: str = "Promo", type_: str = "PROMOTION") -> Row:
    return {"name": name, "full_name": name, "id": name, "type": type_, "amount": amount}


def _credits() -> list[Row]:
    two = [_credit(-5.23), _credit(-2.15, "Sustained", "SUSTAINED_USAGE_DISCOUNT")]
    three = [*two, _credit(-0.000000001, "Free", "FREE_TIER")]
    return [_row(cost=10.0, credits=two), _row(cost=20.0, credits=three)]


def _equal_credits() -> list[Row]:
    return [_row(cost=9.0, credits=[_credit(-1.1), _credit(-1.1)])]


def _tax() -> list[Row]:
    nothing: Row = dict.fromkeys(("project", "usage", "resource", "sku", "location"))
    return [_row(cost=1.9, cost_type="tax", **nothing), _row(cost=10.0)]


def _correction() -> list[Row]:
    """10 for a day in October, billed then; taken back in November, and stated again as 5."""
    later: Row = {
        "invoice": {"month": "202411", "publisher_type": "GOOGLE"},
        "export_time": datetime(2024, 11, 4, tzinfo=UTC),
        "adjustment_info": {
            "id": "a1",
            "description": "price",
            "mode": "COMPLETE_NEGATION_WITH_REMONETIZATION",
            "type": "PRICE_CORRECTION",
        },
    }
    return [_row(cost=10.0), _row(cost=-10.0, **later), _row(cost=5.0, **later)]


def _promotion() -> list[Row]:
    return [
        _row(date(2024, 10, 3), cost=8.0, credits=[_credit(-8.0)]),
        _row(date(2024, 10, 4), cost=8.0, credits=[_credit(-1.5)]),
        _row(date(2024, 10, 5), cost=8.0, credits=[]),
    ]


def _old_commitment() -> list[Row]:
    type_ = "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE"
    return [_row(cost=6.0, credits=[_credit(-2.4, "Spend CUD", type_)]), _row(cost=3.6)]


def _new_commitment() -> list[Row]:
    """Rows of a model of their own; the fee is offset by a credit on its row."""
    model = {"id": "7754-699E", "description": "Compute Flexible CUD 1 Year"}
    model |= {"applied_subscription_instance_id": "sub-1"}
    fee = _credit(-3.6, "Commitment", "FEE_UTILIZATION_OFFSET")
    return [
        _row(cost=4.32, consumption_model=model, cost_at_list=6.0),
        _row(cost=3.6, credits=[fee], subscription={"instance_id": "sub-1"}),
    ]


def _pacific_hours() -> Iterator[Row]:
    """A row for each UTC hour around both changes of the clock in Los Angeles."""
    for first in (datetime(2024, 3, 10, 8, tzinfo=UTC), datetime(2024, 11, 3, 7, tzinfo=UTC)):
        hours = 23 if first.month == 3 else 25
        for number in range(-1, hours + 1):
            start = first + timedelta(hours=number)
            yield _row(start.date(), start.hour, cost=1.0)


def _midnight() -> list[Row]:
    start = datetime(2024, 10, 3, 22, tzinfo=UTC)
    return [_row(usage_start_time=start, usage_end_time=start + timedelta(hours=7), cost=7.7)]


def _labels() -> list[Row]:
    twice = [{"key": "env", "value": "prod"}, {"key": "env", "value": "dev"}]
    return [_row(cost=4.0, labels=twice, system_labels=twice)]


def _projects() -> list[Row]:
    """What has no project may have an empty one as well."""
    nobody = {**export_row()["project"], "id": ""}
    return [_row(project=p, credits=[_credit(-0.25)]) for p in (nobody, nobody, nobody, None)]


def _arrays() -> list[Row]:
    empty: Row = {"credits": [], "labels": [], "system_labels": [], "tags": []}
    null: Row = dict.fromkeys(empty)
    return [
        _row(cost=1.0, **empty),
        _row(cost=2.0, **null),
        _row(cost=3.0, credits=[_credit(-1.0), None]),
        _row(cost=4.0, credits=[_credit(-1.0) | {"amount": None}]),
    ]
