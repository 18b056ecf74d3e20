"""Column types that give the same Python values on SQLite and on PostgreSQL. For `tables.py`."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine
from typing_extensions import override


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware moment, always given back in UTC. Raises ValueError for a naive one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without a time zone cannot be stored: {value}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class FreeText(sa.TypeDecorator[str]):
    """Text from outside. What a database cannot hold (NUL, lone surrogates) becomes U+FFFD."""

    impl = sa.Text()
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return (
            value.replace("\0", "\ufffd")
            .encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
        )


class Gigabytes(sa.TypeDecorator[Decimal]):
    """NUMERIC(10,2). SQLite has no decimals: there it is text."""

    impl = sa.Numeric(10, 2)
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Decimal] | TypeEngine[str]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String())
        return dialect.type_descriptor(sa.Numeric(10, 2))

    @override
    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        if value is None:
            return None
        rounded = value.quantize(Decimal("0.01"))
        return str(rounded) if dialect.name == "sqlite" else rounded

    @override
    def process_result_value(self, value: Decimal | str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).quantize(Decimal("0.01"))


def kept(
    column: sa.Column[Any], now: datetime | sa.BindParameter[Any]
) -> sa.ColumnElement[datetime]:
    """The moment a column holds already, else `now`."""
    return sa.func.coalesce(
        column, sa.literal(now, UtcDateTime) if isinstance(now, datetime) else now
    )
