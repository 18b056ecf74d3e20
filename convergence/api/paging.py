"""Lists in parts: a cursor is the key of the last item seen, so that nothing is lost or doubled."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, TypeVar

from fastapi import Query

from convergence.api import wire
from convergence.errors import Invalid
from convergence.model.cost import Part, other_question

T = TypeVar("T")
V = TypeVar("V")

MOST = 1000
Limit = Annotated[int, Query(ge=1, le=MOST, description="Items in one part")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="`next_cursor` of the part before")
]
DEFAULT = 20


def page_of(
    found: Sequence[T], limit: int, *, key: Callable[[T], tuple[str, ...]], show: Callable[[T], V]
) -> wire.Page[V]:
    """The part that `limit + 1` items give: the one more tells whether there is a next part."""
    items = found[:limit]
    cursor = _cursor(*key(items[-1])) if len(found) > limit else None
    return wire.Page(items=[show(item) for item in items], next_cursor=cursor)


def after_name(
    items: Sequence[T], limit: int, cursor: str | None, *, name: Callable[[T], str]
) -> list[T]:
    """From a short list in order of `name`: those after the cursor, `limit + 1` at most."""
    last = read_name(cursor)
    return [item for item in items if last is None or name(item) > last][: limit + 1]


def read_name(cursor: str | None) -> str | None:
    """The name that a cursor holds. Raises Invalid."""
    return None if cursor is None else _read(cursor, 1)[0]


def read_moment(cursor: str | None) -> tuple[datetime, str] | None:
    """The moment and the id that a cursor holds. Raises Invalid."""
    if cursor is None:
        return None
    text, name = _read(cursor, 2)
    return _moment(text), name


def read_day(cursor: str | None, question: str) -> tuple[date, str] | None:
    """The day and the name that a cursor of the question holds. Raises Invalid."""
    if cursor is None:
        return None
    text, name, asked = _read(cursor, 3)
    if asked != question:
        raise other_question()
    try:
        return date.fromisoformat(text), name
    except ValueError as error:
        raise _not_ours() from error


def read_place(cursor: str | None) -> tuple[datetime, str, int] | None:
    """The moment, the id and the position that a cursor holds. Raises Invalid."""
    if cursor is None:
        return None
    text, name, position = _read(cursor, 3)
    if not _is_position(position):
        raise _not_ours()
    return _moment(text), name, int(position)


def read_part(cursor: str | None, limit: int | None) -> Part | None:
    """The part of an answer that is asked for; None for all of it. Raises Invalid."""
    if cursor is None:
        return None if limit is None else Part(limit=limit)
    state, position = _read(cursor, 2)
    if not state or not _is_position(position):
        raise _not_ours()
    return Part(limit=limit or MOST, position=int(position), state=state)


def part_cursor(part: Part | None) -> str | None:
    return None if part is None else _cursor(part.state, str(part.position))


def _is_position(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 9


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _not_ours() from error
    if moment.tzinfo is None or moment.year < 2:
        raise _not_ours()
    return moment


def _cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _read(cursor: str, count: int) -> tuple[str, ...]:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        parts = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _not_ours() from error
    if not isinstance(parts, list) or len(parts) != count:
        raise _not_ours()
    if not all(isinstance(part, str) and part.isprintable() for part in parts):
        raise _not_ours()
    return tuple(parts)


def _not_ours() -> Invalid:
    return Invalid(
        "the cursor is not one of ours",
        code="invalid_cursor",
        hint="give next_cursor of the part before, as it is; or none to begin",
    )
