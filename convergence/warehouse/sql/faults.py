"""What DuckDB found wrong with a translated query, told of the query that was sent."""

import re
from difflib import get_close_matches

from sqlglot import exp

from convergence.errors import Invalid
from convergence.warehouse.schemas import central_schemas, central_views
from convergence.warehouse.sql.names import CENTRAL_DATASET, Resolved
from convergence.warehouse.sql.statement import refused

CODE = "sql_failed"

_NO_COLUMN = re.compile(
    r'Referenced column "(.+?)" (?:was )?not found|does not have a column named "(.+?)"'
    r'|Could not find key "(.+?)" in struct'
)
_NO_ALIAS = re.compile(r'Referenced table "(.+?)" not found')
_NO_TABLE = re.compile(r'Table with name "?(.+?)"? does not exist')
_MEANT = re.compile(r'Did you mean "(?:.*\.)?(.+?)"')
_UNGROUPED = re.compile(r'column "(.+?)" must appear in the GROUP BY clause')
_AMBIGUOUS = re.compile(r'Ambiguous reference to column name "(.+?)"')
_NO_FUNCTION = re.compile(r"No function matches the given name and argument types '(.+?)\((.*)\)'")
_TYPES = {
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "DECIMAL(38,9)": "NUMERIC",
    "DECIMAL(38,18)": "BIGNUMERIC",
    "VARCHAR": "STRING",
    "STRING_LITERAL": "STRING",
    "INTEGER_LITERAL": "INT64",
    "BIGINT": "INT64",
    "INTEGER": "INT64",
    "DOUBLE": "FLOAT64",
    "BOOLEAN": "BOOL",
    "BLOB": "BYTES",
}
_TOO_MUCH = re.compile(r"\d+:\d+: .+ than [\d,]+")
_TOO_MUCH_HINT = (
    "the calls of a statement share what they may make of a row: "
    "write fewer of them, or make shorter texts and lists"
)
_OTHER_HINT = "the statement was read, but cannot be run"
_QUOTED = re.compile(r'"([^"]+)"')


def sql_fault(resolved: Resolved, message: str) -> Invalid:
    """The error to raise for DuckDB's `message`: names and places are those of BigQuery's SQL."""
    if found := _NO_COLUMN.search(message):
        name = next(group for group in found.groups() if group)
        return _unknown("column", name, resolved, message[found.end() :])
    if found := _NO_ALIAS.search(message):
        return _unknown("table", found[1], resolved, message[found.end() :])
    if found := _NO_TABLE.search(message):
        close = _MEANT.search(message)
        return _no_table(found[1].rpartition(".")[2], resolved, close[1] if close else "")
    if found := _UNGROUPED.search(message):
        return _fault(
            f"column {found[1]} is neither grouped nor aggregated",
            at=_named(resolved, found[1]),
            hint="add it to GROUP BY, or use ANY_VALUE",
        )
    if found := _AMBIGUOUS.search(message):
        return _fault(
            f"column {found[1]} is in more than one table",
            at=_named(resolved, found[1]),
            hint="write the table's alias before it",
        )
    said = _arguments(message) or first_sentence(message)
    return _fault(said, hint=_TOO_MUCH_HINT if _TOO_MUCH.fullmatch(said) else _OTHER_HINT)


def first_sentence(message: str) -> str:
    """DuckDB's first line, without its kind of error."""
    line = message.splitlines()[0] if message else "the query cannot be run"
    return re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", line)[:300]


def _arguments(message: str) -> str:
    """What a function was given that takes something else, in BigQuery's words."""
    found = _NO_FUNCTION.search(message)
    if found is None:
        return ""
    given = found[2]
    for theirs, ours in _TYPES.items():
        given = given.replace(theirs, ours)
    return f"{found[1].upper()} does not take ({given})"


def _unknown(what: str, name: str, resolved: Resolved, candidates: str) -> Invalid:
    known = _QUOTED.findall(candidates.partition("\nLINE ")[0])
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return _fault(
        f"there is no {what} {name}",
        at=_named(resolved, name),
        hint=f"did you mean {close[0]}?" if close else "",
    )


def _no_table(name: str, resolved: Resolved, close: str) -> Invalid:
    tables = resolved.tree.find_all(exp.Table)
    refs = ((table, resolved.ref_of(table)) for table in tables)
    at = next((table for table, ref in refs if ref and ref.table.lower() == name.lower()), None)
    listed = "`SELECT table_name FROM dataset.INFORMATION_SCHEMA.TABLES` lists the tables"
    if name.lower() in {*central_schemas(), *central_views()}:
        listed = f"did you mean {CENTRAL_DATASET}.{name.lower()}?"
    elif close and get_close_matches(name, [close], n=1, cutoff=0.6) and close != name:
        listed = f"did you mean {close}? {listed}"
    return _fault(f"there is no table {name}", at=at, hint=listed)


def _named(resolved: Resolved, name: str) -> exp.Expr | None:
    names = resolved.tree.find_all(exp.Identifier)
    return next((node for node in names if node.name.lower() == name.lower()), None)


def _fault(what: str, *, at: exp.Expr | None = None, hint: str = "") -> Invalid:
    return refused(what, at=at if at is not None else "", code=CODE, hint=hint)
