"""What things were called when tenants were customers. For `store/adopt.py`, `engine/adopt.py`."""

from collections.abc import Sequence

from convergence.errors import Conflict

DATASET = "customers"
"""The dataset that is called `tenants` now."""
_RETIRED, _PRESENT = "customer_", "tenant_"


def retired_name(name: str) -> str:
    """What a table or column was called, if it was called otherwise."""
    return _RETIRED + name.removeprefix(_PRESENT) if name.startswith(_PRESENT) else name


def present_name(name: str) -> str:
    return _PRESENT + name.removeprefix(_RETIRED) if name.startswith(_RETIRED) else name


def no_place(old: str, table: str, columns: Sequence[str]) -> Conflict:
    """The error to raise where rows of the one cannot become rows of the other."""
    return Conflict(
        f"{old} cannot become {table}: {', '.join(columns)} is in one of them alone",
        code="retired_table",
        hint=f"give {old} the columns of {table}, and run cdp db migrate again",
    )
