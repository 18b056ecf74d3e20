"""Questions about costs, over the rows that kill bills, against the oracle."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import pytest

from convergence.engine import costs
from convergence.model.cost import Calendar, CostQuery, Dimension, Group, Mark, Marking
from convergence.model.day import FIRST_DAY, LAST_DAY
from tests.bill import oracle
from tests.bill.conftest import KILLERS, Bill
from tests.bill.killers import RATES, Row

PACIFIC = "days_of_23_and_25_pacific_hours"
ZERO = Decimal("0.000000000")
WIDE = Context(prec=80, rounding=ROUND_HALF_UP)


def ask(bill: Bill, *group_by: Group, **question: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - of whatever type
    days = {"date_from": FIRST_DAY, "date_to": LAST_DAY}
    result = costs.summary(
        bill.service, "acme", CostQuery(group_by=group_by, **{**days, **question})
    )
    names = [name for name, _ in result.columns]
    return [dict(zip(names, row, strict=True)) for row in result.rows]


def net_by_currency(items: Iterable[dict[str, Any]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for item in items:
        sums[item["currency"]] += item["net"]
    return dict(sums)


def net_of(rows: Sequence[Row]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["currency"]] += oracle.exact(row["cost"]) + oracle.credits_of(row)
    return dict(sums)


def rows_by_type(rows: Iterable[Row]) -> dict[str, int]:
    counted: dict[str, int] = defaultdict(int)
    for row in rows:
        given = (credit for credit in row["credits"] or [] if credit is not None)
        for type_ in {credit["type"] for credit in given if credit["amount"] is not None}:
            counted[type_] += 1
    return dict(counted)


def credits_by_type(rows: Iterable[Row]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        for credit in row["credits"] or []:
            if credit is not None and credit["amount"] is not None:
                sums[credit["type"]] += oracle.exact(credit["amount"])
    return dict(sums)


@pytest.mark.parametrize("period", [Dimension.DAY, Dimension.WEEK, Dimension.MONTH])
@pytest.mark.parametrize("calendar", Calendar)
def test_all_calendars_have_the_same_grand_total(
    bill: Bill, calendar: Calendar, period: Dimension
) -> None:
    items = ask(bill, period, calendar=calendar)
    assert net_by_currency(items) == net_of(bill.rows)
    assert sum(item["rows"] for item in items) == len(bill.rows)


def test_pacific_days_have_23_and_25_hours(bill: Bill) -> None:
    only: dict[Group, tuple[str, ...]] = {Dimension.SERVICE: (PACIFIC,)}
    items = ask(bill, Dimension.DAY, calendar=Calendar.USAGE_PACIFIC, filters=only)
    found = {item["day"]: item["rows"] for item in items}
    assert found == oracle.pacific_days(KILLERS[PACIFIC])
    assert (found[date(2024, 3, 10)], found[date(2024, 11, 3)]) == (23, 25)


def test_a_pacific_day_alone_is_that_day(bill: Bill) -> None:
    days = {
        item["day"]: item["rows"]
        for item in ask(
            bill,
            Dimension.DAY,
            calendar=Calendar.USAGE_PACIFIC,
            filters={Dimension.SERVICE: (PACIFIC,)},
        )
    }
    for day, rows in days.items():
        alone = ask(
            bill,
            calendar=Calendar.USAGE_PACIFIC,
            date_from=day,
            date_to=day,
            filters={Dimension.SERVICE: (PACIFIC,)},
        )
        assert [item["rows"] for item in alone] == [rows]


def test_a_correction_is_on_the_invoice_that_has_it(bill: Bill) -> None:
    only: dict[Group, tuple[str, ...]] = {
        Dimension.SERVICE: ("negation_and_remonetisation_on_a_later_invoice",)
    }
    by_usage = ask(bill, Dimension.MONTH, filters=only)
    assert [(item["month"], item["net"]) for item in by_usage] == [("2024-10", 5)]
    by_invoice = ask(bill, Dimension.MONTH, calendar=Calendar.INVOICE_MONTH, filters=only)
    assert [(item["month"], item["net"]) for item in by_invoice] == [
        ("2024-10", 10),
        ("2024-11", -5),
    ]
    november = {"date_from": date(2024, 11, 17), "date_to": date(2024, 11, 17)}
    of_it = ask(bill, Dimension.DAY, calendar=Calendar.INVOICE_MONTH, filters=only, **november)
    assert [(item["day"], item["net"]) for item in of_it] == [(date(2024, 10, 2), -5)]


def test_costs_of_one_currency_are_those_of_it(bill: Bill) -> None:
    items = ask(bill, Dimension.PROJECT, filters={Dimension.CURRENCY: ("USD",)})
    assert net_by_currency(items) == {"USD": net_of(bill.rows)["USD"]}


def test_credits_of_each_type_are_exact_and_add_up(bill: Bill) -> None:
    wanted = credits_by_type(bill.rows)
    items = ask(bill, Dimension.SERVICE, Dimension.PROJECT, with_credit_types=True)
    columns = [name for name in items[0] if name.startswith("credits_")]
    assert columns == [f"credits_{name}" for name in sorted(wanted)]
    assert {n: sum((i[n] for i in items), ZERO) for n in columns} == {
        f"credits_{name}": amount for name, amount in wanted.items()
    }
    assert all(sum((item[name] for name in columns), ZERO) == item["credits"] for item in items)
    plain = ask(bill, Dimension.SERVICE, Dimension.PROJECT)
    assert [{k: v for k, v in item.items() if k not in columns} for item in items] == plain


def test_types_of_credits_beyond_the_most_are_in_one_column(
    bill: Bill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "MAX_CREDIT_TYPES", 2)
    wanted = credits_by_type(bill.rows)
    items = ask(bill, Dimension.DAY, with_credit_types=True)
    columns = [name for name in items[0] if name.startswith("credits_")]
    most = sorted(wanted, key=lambda name: abs(wanted[name]))[-2:]
    assert columns == [*(f"credits_{name}" for name in sorted(most)), "credits_other"]
    assert all(sum((item[name] for name in columns), ZERO) == item["credits"] for item in items)


def test_a_bill_divided_by_type_of_credit_is_the_same_bill(bill: Bill) -> None:
    items = ask(bill, Dimension.PROJECT, Dimension.CREDIT_TYPE)
    assert net_by_currency(items) == net_of(bill.rows)
    found: dict[str, Decimal] = defaultdict(Decimal)
    for item in items:
        if item["credit_type"] is None:
            assert item["credits"] == 0
        else:
            assert item["cost"] == 0
            found[item["credit_type"]] += item["credits"]
    assert found == credits_by_type(bill.rows)
    counted = Counter[str]()
    for item in items:
        counted[item["credit_type"] or "cost"] += item["rows"]
    assert counted == {"cost": len(bill.rows), **rows_by_type(bill.rows)}
    of_type = ask(bill, filters={Dimension.CREDIT_TYPE: ("FREE_TIER",)})
    assert [(i["rows"], i["cost"], i["net"]) for i in of_type] == [(1, 0, Decimal("-0.000000001"))]


@pytest.mark.parametrize("marking", [Marking.LABEL, Marking.SYSTEM_LABEL])
def test_a_repeated_key_counts_once_with_its_first_value(bill: Bill, marking: Marking) -> None:
    only: dict[Group, tuple[str, ...]] = {Dimension.SERVICE: ("label_with_a_repeated_key",)}
    (item,) = ask(bill, Mark(marking, "env"), filters=only)
    assert (item[f"{marking}_env"], item["rows"], item["net"]) == ("prod", 1, 4)


def test_values_of_keys_divide_the_whole_bill(bill: Bill) -> None:
    for mark in (Mark(Marking.LABEL, "env"), Mark(Marking.TAG, "1/env"), Mark(Marking.LABEL, "no")):
        assert net_by_currency(ask(bill, mark)) == net_of(bill.rows)
    quoted = ask(bill, filters={Mark(Marking.LABEL, "env"): ('it\'s "prod"',)})
    without = ask(bill, filters={Mark(Marking.LABEL, "env"): ("",)})
    of_labels = [row for row in bill.rows if row["labels"]]
    assert sum(i["rows"] for i in without) == len(bill.rows) - len(of_labels)
    assert sum(i["rows"] for i in quoted) == len(of_labels) - 1


def test_dollars_are_the_amount_by_the_rate_of_its_rows(bill: Bill) -> None:
    for item in ask(bill, Dimension.SERVICE, with_rates=True):
        rate = item["currency_conversion_rate"]
        is_known = rate is not None and rate > 0
        by_rate = WIDE.divide(item["net"], rate).quantize(ZERO, context=WIDE) if is_known else None
        assert item["net_usd"] == (item["net"] if item["currency"] == "USD" else by_rate)


def test_a_rate_keeps_its_digits_and_gives_dollars_only_above_zero(bill: Bill) -> None:
    only: dict[Group, tuple[str, ...]] = {Dimension.SERVICE: ("rates_of_any_kind",)}
    items = ask(bill, Dimension.SERVICE, filters=only, with_rates=True)
    assert {item["currency_conversion_rate"] for item in items} == {
        None if rate is None else Decimal(str(rate)) for rate in RATES
    }
    dollars = {item["currency_conversion_rate"]: item["net_usd"] for item in items}
    assert dollars == {
        Decimal("0.9123456789012"): Decimal("1096075778.212012869"),
        Decimal("98765432.1"): Decimal("10.125000000"),
        Decimal("1e-12"): Decimal("1e21"),
        Decimal("1e30"): ZERO,
        **dict.fromkeys((Decimal(0), Decimal("-1.1"), None)),
    }
    assert all(str(item["credits_usd"]) in {"0E-9", "None"} for item in items)


@pytest.mark.parametrize(
    "name", ["acme.gcp_silver_cost", "local.acme.gcp_silver_cost", "gcp_silver_cost"]
)
def test_the_view_of_net_costs_is_the_bill(bill: Bill, name: str) -> None:
    sql = f"SELECT currency, SUM(net_cost), SUM(row_count) FROM {name} GROUP BY 1"  # noqa: S608 - the test's
    found = bill.query(sql)
    assert {row[0]: row[1] for row in found} == net_of(bill.rows)
    assert sum(row[2] for row in found) == len(bill.rows)
    layer = bill.query("SELECT COUNT(*) FROM acme.gcp_silver_cost.billing_cost_daily")
    assert layer == [(len(bill.rows),)]


def test_the_view_of_focus_is_the_bill(bill: Bill) -> None:
    sql = "SELECT BillingCurrency, SUM(BilledCost), COUNT(*) FROM focus_gcp GROUP BY 1"
    found = bill.query(sql)
    assert {row[0]: row[1] for row in found} == net_of(bill.rows)
    assert sum(row[2] for row in found) == len(bill.rows)
    tags = bill.query("SELECT Tags FROM focus_gcp WHERE ServiceName = 'label_with_a_repeated_key'")
    assert tags == [('{"env":"prod","1/env":"prod","team":"red"}',)]
    classes = bill.query("SELECT ChargeClass, COUNT(*) FROM focus_gcp GROUP BY 1 ORDER BY 1")
    assert dict(classes) == {"Correction": 2, None: len(bill.rows) - 2}
