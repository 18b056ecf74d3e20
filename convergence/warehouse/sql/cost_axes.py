"""By what costs are divided: for each dimension the columns it is read from, and its value."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain, count

from sqlglot import exp, parse_one

from convergence.model.cost import Calendar, Dimension, Group, Mark, Marking

PACIFIC = "America/Los_Angeles"
"""Where days and invoice months of the provider begin and end."""
CREDIT_TYPE = "credit_type"
START = "usage_start_time"

_COLUMNS = {
    Dimension.SERVICE: "service_id",
    Dimension.SKU: "sku_id",
    Dimension.PROJECT: "project_id",
    Dimension.INVOICE_MONTH: "invoice_month",
    Dimension.COST_TYPE: "cost_type",
    Dimension.REGION: "location_region",
    Dimension.CURRENCY: "currency",
    Dimension.CREDIT_TYPE: CREDIT_TYPE,
}
_NAMES = {
    Dimension.SERVICE: "service_description",
    Dimension.SKU: "sku_description",
    Dimension.PROJECT: "project_name",
    Dimension.RESOURCE: "resource_name",
}
_MARKINGS = {
    Marking.LABEL: "labels_json",
    Marking.TAG: "x_tags_json",
    Marking.PROJECT_LABEL: "x_project_labels_json",
    Marking.SYSTEM_LABEL: "system_labels_json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """`value` is computed from the columns `read`; where it is one of them, it is `plain`.

    `shown` is what the value is called in an answer, `name` a column with a name for it.
    """

    shown: str
    read: tuple[str, ...]
    value: exp.Expr
    name: str | None = None
    is_period: bool = False
    is_date: bool = False

    @property
    def is_plain(self) -> bool:
        return isinstance(self.value, exp.Column) and self.shown != CREDIT_TYPE


def axis(group: Group, calendar: Calendar) -> Axis:
    """How the calendar of a question sees a group."""
    if isinstance(group, Mark):
        return _of_mark(group)
    match group:
        case Dimension.DAY:
            return _of_day(group, calendar, day(calendar))
        case Dimension.WEEK:
            week = exp.func("DATE_TRUNC", day(calendar), exp.var("ISOWEEK"), dialect="bigquery")
            return _of_day(group, calendar, week)
        case Dimension.MONTH:
            return _of_month(calendar)
        case Dimension.RESOURCE:
            columns = ("resource_global_name", "resource_name")
            either = exp.func("COALESCE", *map(column, columns))
            return Axis(shown="resource_id", read=columns, value=either, name=columns[1])
        case _:
            name = _COLUMNS[group]
            read = () if name == CREDIT_TYPE else (name,)
            return Axis(shown=name, read=read, value=column(name), name=_NAMES.get(group))


def day(calendar: Calendar) -> exp.Expr:
    """The usage day; of an invoice the provider's, as on the bill."""
    if calendar is Calendar.USAGE_UTC:
        return column("ingestion_date")
    return parse_one(f"DATE(`{START}`, '{PACIFIC}')", dialect="bigquery")


def column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def own_name(name: str, taken: Collection[str]) -> str:
    """The name, numbered where another column has it: letters' case tells none apart."""
    known = {each.lower() for each in taken}
    numbered = (f"{name}_{number}" for number in count(2))
    return next(each for each in chain((name,), numbered) if each.lower() not in known)


def day_column(calendar: Calendar) -> str:
    return "ingestion_date" if calendar is Calendar.USAGE_UTC else START


def _of_day(group: Dimension, calendar: Calendar, value: exp.Expr) -> Axis:
    read = (day_column(calendar),)
    return Axis(shown=group.value, read=read, value=value, is_period=True, is_date=True)


def _of_month(calendar: Calendar) -> Axis:
    """`YYYY-MM`; NULL where an invoice month is no month."""
    if calendar is Calendar.INVOICE_MONTH:
        said = (
            "IF(REGEXP_CONTAINS(`invoice_month`, '^2[0-9]{3}(0[1-9]|1[0-2])$'),"
            " CONCAT(SUBSTR(`invoice_month`, 1, 4), '-', SUBSTR(`invoice_month`, 5)), NULL)"
        )
        value, read = parse_one(said, dialect="bigquery"), "invoice_month"
    else:
        pattern = exp.Literal.string("%Y-%m")
        value = exp.func("FORMAT_DATE", pattern, day(calendar), dialect="bigquery")
        read = day_column(calendar)
    return Axis(shown=Dimension.MONTH.value, read=(read,), value=value, is_period=True)


def _of_mark(mark: Mark) -> Axis:
    """The first value of the key. The text is JSON as the loads write it: compact, key before
    value; inside a text each quote is escaped, so the pattern finds keys and nothing else.
    """
    source = _MARKINGS[mark.marking]
    key = re.escape(json.dumps(mark.key, ensure_ascii=False)).replace(r"\ ", " ")
    pattern = exp.Literal.string(rf'\{{"key":{key},"value":(?:null|"((?:[^"\\]|\\.)*)")')
    found = exp.func("REGEXP_EXTRACT", column(source), pattern, dialect="bigquery")
    quote = exp.Literal.string('"')
    text = exp.func("CONCAT", quote, found, quote.copy(), dialect="bigquery")
    path = exp.Literal.string("$")
    value = exp.func("JSON_VALUE", text, path, dialect="bigquery")
    shown = f"{mark.marking}_{re.sub(r'[^A-Za-z0-9_]', '_', mark.key)}"
    no_value = exp.func("NULLIF", value, exp.Literal.string(""))
    return Axis(shown=shown, read=(source,), value=no_value)
