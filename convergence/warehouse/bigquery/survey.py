"""What the partitions of a source hold of each usage day, in one read over all that changed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from convergence.errors import Invalid
from convergence.model.load import FileState
from convergence.model.unit import Unit
from convergence.warehouse.bigquery.sources import EXPORTED, UNIT, USAGE, Sight, relation
from convergence.warehouse.bigquery.sums import CREDITS_OF_ROW
from convergence.warehouse.bigquery.trouble import Ask, check_amounts, rows_without_time
from convergence.warehouse.held import ACCOUNT, Group, Held, held_by_unit
from convergence.warehouse.schemas import gcp_export, totals_columns


def survey_query(sight: Sight) -> exp.Select:
    """Sums by partition, usage day, account and key, of the partitions of `sight`."""
    month = exp.Dot(this=exp.column("invoice"), expression=exp.to_identifier("month"))
    rows = relation(sight, totals_columns(gcp_export(), ACCOUNT), with_unit=True)
    day = exp.cast(exp.column(USAGE), exp.DType.DATE)
    keys = (exp.column(ACCOUNT), month, exp.column("cost_type"), exp.column("currency"))
    query = exp.select(
        exp.column(UNIT),
        exp.alias_(day, "usage_day"),
        *(exp.alias_(_text(value), f"key_{index}") for index, value in enumerate(keys)),
        exp.Count(this=exp.Star()),
        exp.Sum(this=exp.column("cost")),
        exp.Sum(this=CREDITS_OF_ROW.copy()),
        exp.Max(this=exp.column(EXPORTED)),
    )
    query = query.from_(rows.subquery("rows_of_source", copy=False))
    return query.group_by(UNIT, "usage_day", *(f"key_{index}" for index in range(len(keys))))


def units_of(ask: Ask, sight: Sight, files: Sequence[FileState]) -> tuple[Unit, ...]:
    """The units, one for each partition. Raises StepFailed for amounts that are none."""
    held = held_by_unit(Group(*row) for row in _answered(ask, sight))
    for path, found in held.items():
        if found.timeless:
            found.fault = rows_without_time(ask, replace(sight, units=frozenset({path})))
    known = {column.name for column in gcp_export().columns}
    columns = frozenset(c.name for each in sight.exports for c in each.columns) & known
    return tuple(_unit(file, held.get(file.path, Held()), columns) for file in files)


def _answered(ask: Ask, sight: Sight) -> Sequence[Sequence[Any]]:
    try:
        return ask(survey_query(sight))
    except Invalid as error:
        check_amounts(ask, sight, error)
        raise


def _unit(file: FileState, held: Held, columns: frozenset[str]) -> Unit:
    return Unit(
        file=file,
        content_hash=_hash(file),
        columns=columns,
        accounts=frozenset(held.accounts),
        days=held.days,
        fault=held.fault,
    )


def same(files: Sequence[FileState], known: Mapping[str, Unit]) -> dict[str, Unit]:
    """Partitions that are just as they are known to be."""
    found = {}
    for file in files:
        unit = known.get(file.path)
        if unit is not None and unit.content_hash == _hash(file):
            found[file.path] = replace(unit, file=file)
    return found


def _hash(file: FileState) -> str:
    """A partition tells by its size and the time of its change whether it is another now; what is
    none, by a number made of its rows. Without that number the text is as it always was: hashes
    are kept, and other ones would have every day loaded again.
    """
    facts = (file.path, file.size, file.mtime_ns, *filter(None, (file.ctime_ns,)))
    text = " ".join(map(str, facts))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _text(value: exp.Expr) -> exp.Expr:
    return exp.func("COALESCE", value, exp.Literal.string(""))
