"""How values are written on pages: money, days, moments and lengths of time. For templates.

Money is shown with two places and its currency beside it; the exact value is in the title.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any
from urllib.parse import urlencode

CENT = Decimal("0.01")
_EXACT = Context(prec=80)
"""Enough for the 38 digits of an amount, in any ratio."""
THOUSANDTH = Decimal("0.001")
MINUS = "\N{MINUS SIGN}"


def to(path: str, **query: object) -> str:
    """An address of ours. What is None or empty is left out; a list is given several times."""
    known = {name: value for name, value in query.items() if value not in (None, "", (), [])}
    return f"{path}?{urlencode(known, doseq=True)}" if known else path


def money(amount: Decimal) -> str:
    """1,234.56; what is less than a cent, but something, is not shown as nothing."""
    shown = amount.quantize(CENT, ROUND_HALF_EVEN, _EXACT)
    if not shown and amount:
        return f"{MINUS if amount < 0 else ''}<0.01"
    return f"{shown:,}".replace("-", MINUS)


def signed(amount: Decimal) -> str:
    """With its sign: a difference."""
    return f"+{money(amount)}" if amount > 0 else money(amount)


def exact(amount: Decimal) -> str:
    """Every digit that there is."""
    text = f"{amount:,f}".replace("-", MINUS)
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(ratio: Decimal | None) -> str:
    """+12.3 %; what was nothing before cannot be compared."""
    if ratio is None:
        return "new"
    shown = _EXACT.multiply(ratio, Decimal(100)).quantize(Decimal("0.1"), ROUND_HALF_EVEN, _EXACT)
    sign = "+" if shown > 0 else MINUS if shown < 0 else "±"
    return f"{sign}{shown.copy_abs():,} %"


def share(ratio: Decimal) -> str:
    return f"{(ratio * 100).quantize(Decimal('0.1'), ROUND_HALF_EVEN):,} %".replace("-", MINUS)


def count(number: int) -> str:
    return f"{number:,}"


def day(value: date) -> str:
    """25 Nov 2026"""
    return f"{value.day} {value:%b %Y}"


def short_day(value: date) -> str:
    """25 Nov"""
    return f"{value.day} {value:%b}"


def month(value: date) -> str:
    """November 2026"""
    return f"{value:%B %Y}"


def moment(value: datetime) -> str:
    """25 Nov 2026 03:04:05"""
    return f"{day(value)} {value:%H:%M:%S}"


def minute(value: datetime) -> str:
    """25 Nov 03:04"""
    return f"{short_day(value)} {value:%H:%M}"


def duration(milliseconds: int | None) -> str:
    """0.42 s, 3.1 s, 2 min 05 s, 1 h 12 min"""
    if milliseconds is None:
        return ""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


FILTERS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        money,
        signed,
        exact,
        change,
        share,
        count,
        day,
        short_day,
        month,
        moment,
        minute,
        duration,
    )
}
