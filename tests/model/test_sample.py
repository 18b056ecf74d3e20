from collections import Counter
from datetime import date
from decimal import Decimal
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.model.money import Total
from convergence.model.sample.catalog import ACCOUNTS, EUR, USD, Account
from convergence.model.sample.charge import Charge, charges, exact
from convergence.model.sample.export import Sample, files, totals
from convergence.model.sample.row import row

SAMPLE = Sample(first=date(2025, 10, 1), days=92, seed=1)
ALL = {account.id: files(account, SAMPLE) for account in ACCOUNTS}


def all_charges(account: Account) -> list[Charge]:
    return list(chain.from_iterable(ALL[account.id].values()))


@settings(max_examples=20, deadline=None)
@given(days=st.integers(1, 40), more=st.integers(1, 40), seed=st.integers(0, 9))
def test_longer_sample_begins_with_the_shorter(days: int, more: int, seed: int) -> None:
    first = date(2025, 10, 1)
    shorter = files(EUR, Sample(first=first, days=days, seed=seed))
    longer = files(EUR, Sample(first=first, days=days + more, seed=seed))
    assert {day: longer[day] for day in shorter} == shorter


def test_another_seed_gives_other_amounts() -> None:
    first = date(2025, 10, 1)
    assert charges(USD, first, 3, seed=1) == charges(USD, first, 3, seed=1)
    assert charges(USD, first, 3, seed=1) != charges(USD, first, 3, seed=2)


def test_totals_are_those_of_the_charges() -> None:
    by_day = totals(USD, ALL[USD.id].values())
    whole = sum((total for day in by_day.values() for total in day.values()), Total())
    found = all_charges(USD)
    assert whole.rows == len(found)
    assert whole.cost == sum((exact(charge.cost) for charge in found), Decimal(0))
    assert by_day.keys() <= set(ALL[USD.id])


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0.1, "0.100000000"),
        (-5e-10, "-1E-9"),
        (4.9e-10, "0E-9"),
        (98765432.1, "98765432.099999994"),
    ],
)
def test_amounts_are_rounded_once_half_away_from_zero(amount: float, said: str) -> None:
    assert exact(amount) == Decimal(said)


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.currency)
def test_each_export_holds_what_bills_are_known_for(account: Account) -> None:
    found = all_charges(account)
    assert {charge.cost_type for charge in found} == {
        "regular",
        "tax",
        "adjustment",
        "rounding_error",
    }
    assert any(charge.line is None or charge.line.project is None for charge in found)
    kinds = (Counter((each.type, each.name) for each, _ in c.credits) for c in found)
    assert any(count == 2 for kind in kinds for count in kind.values())
    assert any(len(charge.credits) > 1 for charge in found)


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.currency)
def test_corrections_negate_and_restate_on_a_later_invoice(account: Account) -> None:
    corrected = [c for c in all_charges(account) if c.adjustment and c.cost_type == "regular"]
    negated, restated = corrected[::2], corrected[1::2]
    assert negated
    assert len(negated) == len(restated)
    for minus, plus in zip(negated, restated, strict=True):
        assert (minus.start, minus.resource) == (plus.start, plus.resource)
        assert minus.cost < 0 < plus.cost < -minus.cost
        assert minus.invoice_month > f"{minus.day:%Y%m}"


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.currency)
def test_late_rows_lie_in_later_files(account: Account) -> None:
    delays = {
        (day - charge.day).days
        for day, exported in ALL[account.id].items()
        for charge in exported
        if not charge.adjustment
    }
    assert {0, 1, 2, 3, 30} <= delays
    assert min(delays) == 0


def test_broken_file_holds_its_own_day_alone() -> None:
    assert EUR.broken is not None
    day = SAMPLE.day(EUR.broken)
    assert {charge.day for charge in ALL[EUR.id][day]} == {day}


def test_one_day_costs_far_more_than_its_neighbours() -> None:
    by_day = totals(USD, ALL[USD.id].values())
    net = {day: sum(t.net for t in sums.values()) for day, sums in by_day.items()}
    assert USD.anomaly is not None
    odd = net[SAMPLE.day(USD.anomaly)]
    assert odd == max(net.values())
    assert odd > 2 * net[SAMPLE.day(USD.anomaly - 1)]


def test_last_hours_of_a_month_in_california_belong_to_its_invoice() -> None:
    first_of_november = charges(USD, SAMPLE.first, 31, seed=1)
    assert {c.invoice_month for c in first_of_november if c.start.hour < 8} == {"202510"}
    assert {c.invoice_month for c in first_of_november if c.start.hour >= 8} == {"202511"}


def test_row_has_labels_with_a_repeated_key_and_tags() -> None:
    web = next(c for c in all_charges(USD) if (c.resource or "").startswith("web-1"))
    found = row(USD, web, SAMPLE.first)
    assert [label["key"] for label in found["labels"]].count("team") == 2
    assert found["tags"][0]["inherited"] is True
