"""What all shapes share: bodies are strict; answers are read off values of the model."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from convergence.errors import Fault, Invalid
from convergence.model.day import LAST_DAY, parse_day
from convergence.model.money import plain

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character: JSON may escape it, UTF-8 cannot hold it."""
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Exact = Annotated[Decimal, PlainSerializer(lambda value: format(value, "f"), return_type=str)]
"""A decimal as a text, digit by digit."""
Money = Annotated[Decimal, PlainSerializer(plain, return_type=str)]
"""An amount as a text with nine places, or more where it has them."""
Json = dict[str, Any]


def any_day(text: str | None) -> date | None:
    """A day to search by, which may be far ahead. Raises Invalid."""
    return parse_day(text, today=LAST_DAY) if text else None


class In(BaseModel):
    """A body: no unknown field, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, value: object) -> object:
        pointer = broken_text(value)
        if pointer is not None:
            raise PydanticCustomError(
                "broken_text",
                "holds half of a character (a lone surrogate){at}",
                {"pointer": pointer, "at": f" at {pointer}" if pointer else ""},
            )
        return value


class Out(BaseModel):
    """An answer. A field with another name in the model says so by its alias."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Out, Generic[T]):
    """A part of a list. `next_cursor` is null on the last part."""

    items: list[T]
    next_cursor: str | None = None


def broken_text(value: object) -> str | None:
    """Where in a JSON value a text or a name has a lone surrogate: a JSON pointer; else None."""
    waiting = [("", value)]
    while waiting:
        pointer, item = waiting.pop()
        if isinstance(item, str) and SURROGATE.search(item):
            return pointer
        if isinstance(item, dict):
            if any(isinstance(name, str) and SURROGATE.search(name) for name in item):
                return pointer
            waiting += [(f"{pointer}/{name}", inner) for name, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(f"{pointer}/{place}", inner) for place, inner in enumerate(item)]
    return None


def checked(shape: type[M], values: Json) -> M:
    """What was asked, as the wire reads it. Raises Invalid with every fault."""
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        faults = [
            Fault(message=each["msg"], pointer="/".join(map(str, each["loc"])))
            for each in error.errors()
        ]
        raise Invalid("; ".join(map(str, faults)), faults=faults) from None
