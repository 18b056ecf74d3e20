"""What the command line asked, in the shapes of the wire, as the engine and the store take it."""

from collections import defaultdict
from datetime import date
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from convergence.errors import Fault, Invalid
from convergence.model.cost import CostQuery, Dimension
from convergence.model.day import FIRST_DAY
from convergence.model.run import RunFilter, Status

Json = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

LAST_DAY = date(2999, 12, 31)


def run_filter(chosen: Json) -> RunFilter:
    days = {name: chosen.get(name) for name in ("date_from", "date_to")}
    return RunFilter(
        statuses=frozenset(map(Status, chosen.get("status", ()))),
        pipeline_id=chosen.get("pipeline_id"),
        **{name: date.fromisoformat(day) if day else None for name, day in days.items()},
    )


def cost_query(question: Json) -> CostQuery:
    filters: dict[Dimension, list[str]] = defaultdict(list)
    for text in question.get("filter", ()):
        name, equals, value = text.partition("=")
        if not equals:
            raise Invalid(f"{text[:40]!r} is not NAME=ID", code="invalid_filter")
        filters[_dimension(name)].append(value)
    names = [name.strip() for name in question.get("group_by", "").split(",")]
    return CostQuery(
        date_from=date.fromisoformat(question.get("from", FIRST_DAY.isoformat())),
        date_to=date.fromisoformat(question.get("to", LAST_DAY.isoformat())),
        group_by=tuple(_dimension(name) for name in names if name),
        filters={dimension: tuple(values) for dimension, values in filters.items()},
    )


def _dimension(name: str) -> Dimension:
    if name in list(Dimension):
        return Dimension(name)
    raise Invalid(
        f"costs have no dimension {name[:40]!r}",
        code="invalid_dimension",
        hint=f"one of {', '.join(Dimension)}",
    )


def checked(model: type[M], values: Json) -> M:
    """The body as the wire reads it. Raises Invalid with every fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            Fault(message=each["msg"], pointer="/".join(map(str, each["loc"])))
            for each in error.errors()
        ]
        raise Invalid("; ".join(map(str, faults)), faults=faults) from None
