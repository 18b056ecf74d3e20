"""What all shapes share: bodies are strict; answers are read off values of the model."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer

from convergence.model.day import parse_day

LAST_DAY = date(2999, 12, 31)
T = TypeVar("T")
Exact = Annotated[Decimal, PlainSerializer(lambda value: format(value, "f"), return_type=str)]
"""A decimal as a text, digit by digit."""
Json = dict[str, Any]


def any_day(text: str | None) -> date | None:
    """A day to search by, which may be far ahead. Raises Invalid."""
    return parse_day(text, today=LAST_DAY) if text else None


class In(BaseModel):
    """A body: no unknown field, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Out(BaseModel):
    """An answer. A field with another name in the model says so by its alias."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Out, Generic[T]):
    """A part of a list. `next_cursor` is null on the last part."""

    items: list[T]
    next_cursor: str | None = None
