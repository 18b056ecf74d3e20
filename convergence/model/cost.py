"""A question about costs: which days of which calendar, in which groups, of which services …"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self

from typing_extensions import override

from convergence.errors import Invalid
from convergence.model.day import FIRST_DAY, LAST_DAY

MAX_GROUPS = 10


class Calendar(StrEnum):
    """What puts a charge into a period: its usage day in UTC, that in the provider's time zone,
    or the month of the invoice that has it.
    """

    USAGE_UTC = "usage_utc"
    USAGE_PACIFIC = "usage_pacific"
    INVOICE_MONTH = "invoice_month"


class Dimension(StrEnum):
    """What costs can be grouped and filtered by. The currency is part of every group.

    `credit_type` divides a group into its cost, without a type, and its credits of each type.
    """

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SERVICE = "service"
    SKU = "sku"
    PROJECT = "project"
    INVOICE_MONTH = "invoice_month"
    COST_TYPE = "cost_type"
    REGION = "region"
    RESOURCE = "resource"
    CURRENCY = "currency"
    CREDIT_TYPE = "credit_type"


PERIODS = frozenset({Dimension.DAY, Dimension.WEEK, Dimension.MONTH})


class Shape(StrEnum):
    """What a file of costs has a row for: a group, a row of the bill, the same as FOCUS has it."""

    GROUPS = "groups"
    LINES = "lines"
    FOCUS = "focus"


class FileFormat(StrEnum):
    """How a file of rows is written; `json` is one array, `jsonl` an object in each line."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some groups of an answer, from a position in its order on. `state`, "" for the first part,
    is that of the bill which the parts before are of.
    """

    limit: int
    position: int = 0
    state: str = ""


class Marking(StrEnum):
    """What hangs keys with values on a charge."""

    LABEL = "label"
    TAG = "tag"
    PROJECT_LABEL = "project_label"
    SYSTEM_LABEL = "system_label"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """The value of one key, `label.env`: the first, where a charge has the key more than once."""

    marking: Marking
    key: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what is not written like one."""
        marking, _, key = text.partition(".")
        return cls(Marking(marking), key) if key and marking in list(Marking) else None

    @override
    def __str__(self) -> str:
        return f"{self.marking}.{self.key}"


Group = Dimension | Mark
_MONTHS: Mapping[Group, tuple[re.Pattern[str], str]] = {
    Dimension.MONTH: (re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])"), "month=YYYY-MM"),
    Dimension.INVOICE_MONTH: (re.compile(r"[0-9-]{1,10}"), "invoice_month=YYYYMM"),
}
"""An invoice month is as the bill has it, even where it is no month, as `2024-10`."""
Filters = Mapping[Group, tuple[str, ...]] | Mapping[Dimension, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """Days of the calendar, both ends included; of invoice months, those that the days lie in.
    Filters name ids; the empty id is a missing one.

    Raises Invalid when the days are in the wrong order, a day to filter by is not a date, or an
    answer is divided too often.
    """

    date_from: date
    date_to: date
    group_by: tuple[Group, ...] = ()
    filters: Filters = field(default_factory=dict)
    calendar: Calendar = Calendar.USAGE_UTC
    with_credit_types: bool = False
    with_rates: bool = False
    """Whether each rate of conversion to USD has a group of its own."""

    def __post_init__(self) -> None:
        if self.date_from > self.date_to:
            raise Invalid(
                f"{self.date_from} is after {self.date_to}",
                code="invalid_date",
                hint="give the earlier day first",
            )
        for dimension in (Dimension.DAY, Dimension.WEEK):
            for day in self.filters.get(dimension, ()):
                _check_day(day)
        if len(self.group_by) > MAX_GROUPS:
            raise Invalid(
                f"costs are grouped by at most {MAX_GROUPS} things", code="invalid_dimension"
            )

    @override
    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Each once, but for the currency, which is part of them anyway."""
        asked = dict.fromkeys(self.group_by)
        return tuple(group for group in asked if group is not Dimension.CURRENCY)

    @property
    def is_divided_by_type(self) -> bool:
        """Whether credits are lines of their own, beside the cost."""
        asked = {*self.group_by, *(name for name, ids in self.filters.items() if ids)}
        return Dimension.CREDIT_TYPE in asked

    @property
    def first(self) -> date | None:
        """None where nothing is too early."""
        return self.date_from if self.date_from > FIRST_DAY else None

    @property
    def last(self) -> date | None:
        """None where nothing is too late."""
        return self.date_to if self.date_to < LAST_DAY else None

    @property
    def digest(self) -> str:
        """The same for equal questions, in every process."""
        return hashlib.blake2b(repr(self.key).encode(), digest_size=8).hexdigest()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal questions, and hashable."""
        filters = tuple(sorted((str(name), ids) for name, ids in self.filters.items()))
        shown = (self.calendar, self.with_credit_types, self.with_rates)
        return self.date_from, self.date_to, self.group_by, filters, shown


def other_question() -> Invalid:
    """A part of an answer is asked for that is not the question's."""
    return Invalid(
        "the cursor is of another question",
        code="invalid_cursor",
        hint="ask for each part with the same parameters; or begin again, without a cursor",
    )


def parse_group(text: str) -> Group:
    """Raises Invalid."""
    if text in list(Dimension):
        return Dimension(text)
    if (mark := Mark.parse(text)) is not None:
        return mark
    raise Invalid(
        f"costs have no {text[:40]!r}",
        code="invalid_dimension",
        hint=f"one of {', '.join(Dimension)}, or {', '.join(f'{each}.KEY' for each in Marking)}",
    )


def parse_filter(text: str) -> tuple[Group, str]:
    """The name and the id of `name=id`. Raises Invalid, also for a period that cannot be."""
    name, found, value = text.partition("=")
    if not found:
        raise Invalid(f"{text[:40]!r} is not name=id", code="invalid_filter", hint="service=6F81")
    group = parse_group(name)
    if group is Dimension.WEEK:
        _check_monday(value)
    if group in _MONTHS and value and not _MONTHS[group][0].fullmatch(value):
        raise Invalid(
            f"{value[:20]!r} is no {group}", code="invalid_filter", hint=_MONTHS[group][1]
        )
    return group, value


def _check_monday(text: str) -> None:
    _check_day(text)
    monday = (day := date.fromisoformat(text)) - timedelta(days=day.weekday())
    if day != monday:
        raise Invalid(
            f"{day} is no Monday, with which a week begins",
            code="invalid_filter",
            hint=f"week={monday}",
        )


def _check_day(text: str) -> None:
    """Only in the form that SQL has, too: there are other ones of ISO 8601."""
    try:
        is_day = date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_day = False
    if not is_day:
        raise Invalid(f"{text[:40]!r} is not a day", code="invalid_date", hint="YYYY-MM-DD")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """The sums of one group in one currency; of one day, where days were asked for.

    `group_id` "" is what has no id. Net is cost and credits, which are negative, together.
    """

    day: date | None
    group_id: str
    name: str
    currency: str
    rows: int
    cost: Decimal
    credits: Decimal
    net: Decimal
