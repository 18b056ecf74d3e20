"""What a bare name can mean where it stands, checked before DuckDB finds a meaning of its own.

DuckDB answers the names of some functions and of its own row number, and in WHERE and in the
SELECT list the names of that list, none of which BigQuery does.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.scope import Scope, traverse_scope

from convergence.errors import Invalid
from convergence.warehouse.sql.aliases import named_items
from convergence.warehouse.sql.allowed import words
from convergence.warehouse.sql.infer import Columns, element_fields
from convergence.warehouse.sql.names import Resolved
from convergence.warehouse.sql.statement import refused

Names = frozenset[str] | None
"""Lower-case; None where they cannot be told."""
_Source = tuple[exp.Expr, exp.Table | Scope]

_WITHOUT_TABLE = words(
    """current_catalog current_database current_date current_role current_schema current_time
    current_timestamp current_user localtime localtimestamp rowid session_user user"""
)
"""What DuckDB answers where no table has such a column."""
_SEES_ALIASES = frozenset({"group", "having", "qualify", "order"})


def check_visible(resolved: Resolved, tree: exp.Query, columns: Columns) -> None:
    """Raise Invalid for a column that is nowhere, and give one of a query around its table.

    The types of `tree` are known, and its aliases are in their place.
    """
    names = _Visible(resolved, columns)
    for scope in traverse_scope(tree):
        if isinstance(scope.expression, exp.Select):
            for column in list(scope.find_all(exp.Column)):
                if not isinstance(column.this, exp.Star):
                    names.check(column, scope, scope.expression)


class _Visible:
    def __init__(self, resolved: Resolved, columns: Columns) -> None:
        self._resolved = resolved
        self._columns = columns
        self._known: dict[int, Names] = {}

    def check(self, column: exp.Column, scope: Scope, select: exp.Select) -> None:
        first, *rest = [part.name.lower() for part in column.parts]
        seen: set[str] = set()
        for around in _outwards(scope):
            sources = _sources(around)
            if sources is None:
                _check_word(column)
                return
            if rest and first in sources:
                self._check_member(column, rest[0], sources[first])
                return
            for source in sources.values():
                found = self._names(source)
                if found is None:
                    _check_word(column)
                    return
                seen |= found
            if first in seen or first in sources:
                if around is not scope and first in named_items(select):
                    self._qualify(column, sources)
                return
        _check_named(column, select, seen)

    def _check_member(self, column: exp.Column, member: str, source: _Source) -> None:
        names = self._names(source)
        if names is not None and member not in names:
            raise _no_column(column.parts[1], names)

    def _qualify(self, column: exp.Column, sources: Mapping[str, _Source]) -> None:
        """A name of the SELECT list would hide the column of a query around, to DuckDB."""
        first = column.parts[0].name.lower()
        for alias, source in sources.items():
            if alias and first in (self._names(source) or ()):
                column.replace(_of_table(column, alias))
                return

    def _names(self, source: _Source) -> Names:
        node, of = source
        key = id(of)
        if key not in self._known:
            self._known[key] = None  # a recursive WITH meets itself here
            self._known[key] = self._names_of(node, of)
        return self._known[key]

    def _names_of(self, node: exp.Expr, of: exp.Table | Scope) -> Names:
        if node.args.get("pivots"):
            return None
        if isinstance(of, exp.Table):
            ref = self._resolved.ref_of(of)
            known = self._columns.get(ref, ()) if ref is not None else ()
            return frozenset(column.name.lower() for column in known) or None
        if isinstance(of.expression, exp.Unnest):
            return _names_of_unnest(of.expression)
        return self._names_of_query(of)

    def _names_of_query(self, of: Scope) -> Names:
        if of.set_operation_scopes:
            return self._names_of_query(of.set_operation_scopes[0])
        select = of.expression
        part = select.find_ancestor(exp.CTE, exp.Subquery)
        if part is not None and part.args["alias"] and part.args["alias"].columns:
            return None
        if not isinstance(select, exp.Select) or select.args.get("kind"):
            return None
        found: set[str] = set()
        for projection in select.expressions:
            names = self._names_of_item(projection, of)
            if names is None:
                return None
            found |= names
        return frozenset(found)

    def _names_of_item(self, projection: exp.Expr, scope: Scope) -> Names:
        if not projection.is_star:
            return frozenset({projection.output_name.lower()} - {""})
        sources = _sources(scope)
        if not isinstance(projection, exp.Star) or sources is None:
            return None
        found: set[str] = set()
        for source in sources.values():
            names = self._names(source)
            if names is None:
                return None
            found |= names
        left_out = {each.name.lower() for each in projection.args.get("except_") or ()}
        return frozenset(found - left_out)


def _check_named(column: exp.Column, select: exp.Select, seen: set[str]) -> None:
    """A column that no table has: a name of the SELECT list, where such are seen."""
    first = column.parts[0].name.lower()
    is_named = any(not item.is_column for item in named_items(select).get(first, ()))
    if not is_named:
        if len(column.parts) > 1:
            return  # a table that is not there: DuckDB says so
        raise _no_column(column.parts[0], seen)
    if _clause(column, select) not in _SEES_ALIASES:
        raise refused(
            f"{first} is a name of this SELECT list, and no column: it cannot be read here",
            at=column,
            code="sql_failed",
            hint="write what it stands for, or name it in a query in FROM or WITH",
        )


def _names_of_unnest(unnest: exp.Unnest) -> Names:
    array = unnest.expressions[0].type
    element = array.expressions[0] if array is not None and array.expressions else None
    if not isinstance(element, exp.DataType) or element.is_type(exp.DType.UNKNOWN):
        return None
    names = {name.lower() for name in unnest.alias_column_names}
    offset = unnest.args.get("offset")
    if offset:
        names.add(offset.name.lower() if isinstance(offset, exp.Identifier) else "offset")
    if element.is_type(exp.DType.STRUCT) and not element_fields(unnest.expressions[0]):
        return None
    return frozenset(names | set(element_fields(unnest.expressions[0])))


def _outwards(scope: Scope | None) -> Iterator[Scope]:
    """The scopes whose columns a query may read: of those beside it in FROM it may not."""
    while scope is not None:
        yield scope
        is_beside = scope.is_derived_table
        scope = None if scope.is_cte else scope.parent
        if is_beside and scope is not None:
            scope = None if scope.is_cte else scope.parent


def _sources(scope: Scope) -> Mapping[str, _Source] | None:
    """What a scope reads FROM, by lower-case alias; None where SQLGlot does not see all of it."""
    try:
        found = {name.lower(): source for name, source in scope.selected_sources.items()}
    except OptimizeError:
        return None
    select = scope.expression
    if not isinstance(select, exp.Select):
        return found
    read = [select.args.get("from_"), *(select.args.get("joins") or ())]
    is_whole = len(found) == sum(item is not None for item in read)
    return found if is_whole and not select.args.get("laterals") else None


def _of_table(column: exp.Column, alias: str) -> exp.Expr:
    parts = [part.copy() for part in column.parts]
    qualified: exp.Expr = exp.column(parts[0], table=exp.to_identifier(alias, quoted=True))
    qualified.type = column.type
    for part in parts[1:]:
        qualified = exp.Dot(this=qualified, expression=part)
    return qualified


def _clause(node: exp.Expr, select: exp.Expr) -> str:
    while node.parent is not None and node.parent is not select:
        node = node.parent
    return node.arg_key or ""


def _check_word(column: exp.Column) -> None:
    if column.name.lower() in _WITHOUT_TABLE:
        raise refused(f"{column.name} is not available here", at=column)


def _no_column(written: exp.Expr, known: set[str] | frozenset[str]) -> Invalid:
    close = get_close_matches(written.name.lower(), sorted(known), n=1, cutoff=0.5)
    return refused(
        f"there is no column {written.name}",
        at=written,
        code="sql_failed",
        hint=f"did you mean {close[0]}?" if close else "",
    )
