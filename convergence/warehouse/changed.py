"""The keys of a bill's day at which a load changes sums, from a row of either warehouse."""

from collections.abc import Sequence
from typing import Any

from convergence.model.restatement import Change
from convergence.warehouse.held import total

KEYS = ("invoice_month", "service_id", "project_id", "currency")


def change(row: Sequence[Any]) -> Change:
    """From the keys; rows, cost and credits before and now; rows removed; corrections."""
    return Change(
        **dict(zip(KEYS, row, strict=False)),
        old=total(int(row[4]), row[5], row[6]),
        new=total(int(row[7]), row[8], row[9]),
        removed=int(row[10]),
        corrections=int(row[11]),
    )
