"""The quality checks that a table has by itself: schemas/quality/{table}.yml."""

from functools import cache
from importlib.resources import files

from pydantic import TypeAdapter

from convergence.model import yaml_text
from convergence.model.check import Check

_CHECKS = TypeAdapter(tuple[Check, ...])


@cache
def load_suite(table: str) -> tuple[Check, ...]:
    """The default checks of a table; none for one that has no suite."""
    entry = files("convergence.warehouse") / "schemas" / "quality" / f"{table}.yml"
    if not entry.is_file():
        return ()
    return _CHECKS.validate_python(yaml_text.read(entry.read_text("utf-8"), file=entry.name).value)
