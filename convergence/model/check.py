"""A quality check as YAML says it: what must hold of a table's rows, and how much it matters."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,299}$")]
Sql = Annotated[str, Field(min_length=1, max_length=5000)]
Words = Annotated[str, Field(max_length=200)]
MAX_CHECKS = 200

_NOT_RE2 = re.compile(r"\(\?(=|!|<=|<!|>)|\\[1-9]|\\k<")


class Severity(StrEnum):
    """What a check that fails means: CRITICAL keeps the rows from being published."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class CheckKind(StrEnum):
    NOT_NULL = "not_null"
    UNIQUE = "unique"
    RANGE = "range"
    ACCEPTED_VALUES = "accepted_values"
    REGEX = "regex"
    ROW_COUNT = "row_count"
    FRESHNESS = "freshness"
    SUM_MATCHES_SOURCE = "sum_matches_source"
    NO_FUTURE_DATES = "no_future_dates"
    CURRENCY_SINGLE = "currency_single"
    CUSTOM_SQL = "custom_sql"


class _Rule(NamedTuple):
    """The keys of a kind: all of `needed`, one at least of `either`; `free` may be left out."""

    needed: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    free: tuple[str, ...] = ("where",)


_OF_ROWS = ("where", "mostly")
_RULES: Mapping[CheckKind, _Rule] = {
    CheckKind.NOT_NULL: _Rule(("column",), (), _OF_ROWS),
    CheckKind.UNIQUE: _Rule((), ("column", "columns"), _OF_ROWS),
    CheckKind.RANGE: _Rule(("column",), ("min", "max"), _OF_ROWS),
    CheckKind.ACCEPTED_VALUES: _Rule(("column", "values"), (), _OF_ROWS),
    CheckKind.REGEX: _Rule(("column", "pattern"), (), _OF_ROWS),
    CheckKind.ROW_COUNT: _Rule((), ("min", "max")),
    CheckKind.FRESHNESS: _Rule(("column", "max_age_hours")),
    CheckKind.SUM_MATCHES_SOURCE: _Rule((), (), ()),
    CheckKind.NO_FUTURE_DATES: _Rule(("column",), (), _OF_ROWS),
    CheckKind.CURRENCY_SINGLE: _Rule((), (), ("column", "where")),
    CheckKind.CUSTOM_SQL: _Rule(("expression",), (), _OF_ROWS),
}
_OF_ALL = frozenset({"check", "name", "severity", "description"})


class Check(BaseModel):
    """One check. A NULL fails `not_null` alone; `where` and `expression` are BigQuery SQL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    check: CheckKind = Field(description="What must hold")
    severity: Severity = Field(
        default=Severity.WARNING,
        description="critical: the rows are not published when it fails; info: told, no warning",
    )
    name: Words = Field(default="", description="How results call it; else its kind and column")
    description: Words = Field(default="", description="Why it is checked")
    column: Column | None = None
    columns: Annotated[tuple[Column, ...], Field(max_length=20)] = Field(
        default=(), description="unique: no two rows are the same in all of them"
    )
    where: Sql | None = Field(default=None, description="Only rows of which this is true")
    mostly: Annotated[Decimal, Field(gt=0, le=1)] = Field(
        default=Decimal(1), description="The share of rows that must pass; 1 is all"
    )
    min: Decimal | None = None
    max: Decimal | None = None
    values: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=1000)] = (
        Field(default=(), description="What the column may hold")
    )
    pattern: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="RE2; it may match anywhere unless it has ^ and $"
    )
    max_age_hours: Annotated[Decimal, Field(gt=0)] | None = Field(
        default=None, description="freshness: the newest value is at most so old"
    )
    expression: Sql | None = Field(
        default=None,
        description="custom_sql: true of each row, or, with aggregates, of all rows together",
    )

    @model_validator(mode="after")
    def _has_its_keys(self) -> Self:
        rule, given = _RULES[self.check], self.model_fields_set - _OF_ALL
        if missing := [key for key in rule.needed if key not in given]:
            raise ValueError(f"{self.check} needs {' and '.join(missing)}")
        if rule.either and not given & set(rule.either):
            raise ValueError(f"{self.check} needs {' or '.join(rule.either)}")
        if extra := given - {*rule.needed, *rule.either, *rule.free}:
            raise ValueError(f"{self.check} does not use {', '.join(sorted(extra))}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.pattern and _NOT_RE2.search(self.pattern):
            raise ValueError("the pattern is RE2, which has no lookaround and no backreference")
        return self

    @property
    def label(self) -> str:
        return self.name or " ".join((self.check, *self.read_columns))

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns it names, besides those in its SQL."""
        if self.check is CheckKind.CURRENCY_SINGLE:
            return (self.column or "currency",)
        return (self.column,) if self.column else self.columns
