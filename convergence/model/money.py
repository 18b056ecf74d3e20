"""Exact totals: what a load proves. Money is Decimal with 9 places; no float ever carries it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

PLACES = 9
_UNIT = Decimal(1).scaleb(-PLACES)
_EXACT = Context(prec=80)
"""Wide enough for sums of many 38-digit amounts; Python's own context keeps 28 digits."""


class MoneyKey(NamedTuple):
    """The axes along which totals must agree; a sum never crosses currencies."""

    invoice_month: str
    cost_type: str
    currency: str


@dataclass(frozen=True, slots=True)
class Total:
    """Rows, gross cost and credits (negative) of one key, or of a whole."""

    rows: int = 0
    cost: Decimal = Decimal(0)
    credits: Decimal = Decimal(0)

    def __add__(self, other: "Total") -> "Total":
        add = _EXACT.add
        return Total(
            self.rows + other.rows, add(self.cost, other.cost), add(self.credits, other.credits)
        )

    def negated(self) -> "Total":
        return Total(-self.rows, self.cost.copy_negate(), self.credits.copy_negate())

    @property
    def net(self) -> Decimal:
        return _EXACT.add(self.cost, self.credits)


def in_dollars(amount: Decimal, rate: Decimal | None, currency: str | None) -> Decimal | None:
    """An amount by its rate, which is local currency for a dollar; rounded once, at the ninth
    place, half away from zero. None where no rate above 0 is known.
    """
    if currency == "USD":
        return amount
    if rate is None or not rate.is_finite() or rate <= 0:
        return None
    exact = _EXACT.divide(amount, rate)
    return _EXACT.plus(exact.quantize(_UNIT, rounding=ROUND_HALF_UP, context=_EXACT))


def plain(amount: Decimal) -> str:
    """With nine places, or with more where it has them; nothing is never negative."""
    exact = _EXACT.plus(amount)
    exponent = exact.normalize(_EXACT).as_tuple().exponent
    places = max(PLACES, -exponent if isinstance(exponent, int) else 0)
    return format(exact.quantize(Decimal(1).scaleb(-places), context=_EXACT), "f")


Totals = Mapping[MoneyKey, Total]


def add_up(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum, of however many digits."""
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def subtract(amount: Decimal, other: Decimal) -> Decimal:
    """The exact difference."""
    return _EXACT.subtract(amount, other)


def quotient(amount: Decimal, other: Decimal) -> Decimal:
    """`amount` as a part of `other`, which is not 0."""
    return _EXACT.divide(amount, other)


def row_count(totals: Totals) -> int:
    return sum(total.rows for total in totals.values())


def differences(loaded: Totals, source: Totals) -> list[str]:
    """One sentence for each key whose totals differ; empty when they agree to the last digit."""
    sentences = []
    for key in sorted(loaded.keys() | source.keys()):
        ours, theirs = loaded.get(key, Total()), source.get(key, Total())
        if ours != theirs:
            name = " x ".join(part or "(none)" for part in key)
            sentences.append(f"{name}: loaded {_figures(ours)}, source {_figures(theirs)}")
    return sentences


def totals_to_json(totals: Totals) -> list[dict[str, str | int]]:
    """Totals as JSON values, decimals as plain strings, ordered by key."""
    return [
        {
            **key._asdict(),
            "rows": total.rows,
            "cost": format(total.cost, "f"),
            "credits": format(total.credits, "f"),
        }
        for key, total in sorted(totals.items())
    ]


def totals_from_json(rows: Iterable[Mapping[str, str | int]]) -> dict[MoneyKey, Total]:
    """The inverse of `totals_to_json`."""
    return {
        MoneyKey(str(row["invoice_month"]), str(row["cost_type"]), str(row["currency"])): Total(
            int(row["rows"]), Decimal(str(row["cost"])), Decimal(str(row["credits"]))
        )
        for row in rows
    }


def _figures(total: Total) -> str:
    return f"{total.rows} rows, cost {total.cost:f}, credits {total.credits:f}"
