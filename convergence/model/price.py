"""What reading is billed, where a warehouse bills for bytes."""

from decimal import ROUND_HALF_UP, Decimal

TIB = 1 << 40
LEAST = 10 << 20
"""Bytes that are billed at least, of each table that a query reads."""
_PLACES = Decimal("0.000001")


def billed(read: int, tables: int) -> int:
    """The bytes that are billed for a query of `tables`; a query that reads nothing is free."""
    return max(read, LEAST * tables) if read else 0


def price_of(read: int, per_tib: Decimal) -> Decimal:
    """Dollars for so many bytes, to the millionth."""
    return (per_tib * read / TIB).quantize(_PLACES, ROUND_HALF_UP)
