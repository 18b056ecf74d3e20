"""What reading is billed, where a warehouse bills for bytes."""

from decimal import ROUND_HALF_UP, Decimal

TIB = 1 << 40
_PLACES = Decimal("0.000001")


def price_of(read: int, per_tib: Decimal) -> Decimal:
    """Dollars for so many bytes, to the millionth."""
    return (per_tib * read / TIB).quantize(_PLACES, ROUND_HALF_UP)
