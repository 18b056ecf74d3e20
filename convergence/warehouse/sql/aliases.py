"""What a name of the SELECT list means in the clauses after it, as BigQuery's reference has it.

In GROUP BY, HAVING, QUALIFY and ORDER BY it hides a column of FROM that is called alike. DuckDB
takes the column, but where all of an item of ORDER BY is the name.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer.scope import walk_in_scope

from convergence.warehouse.sql.limits import MAX_SIZE, check_size
from convergence.warehouse.sql.statement import refused

_CLAUSES = ("having", "qualify", "order")
_PIPE = "__tmp"
"""Begins the names of the parts that SQLGlot makes of a pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A named item of a SELECT list; `place` is its number, or None behind a star."""

    name: str
    value: exp.Expr
    place: int | None

    @property
    def is_column(self) -> bool:
        """Whether the name means the same column wherever it stands."""
        return isinstance(self.value, exp.Column) and _bare(self.value) == self.name


def put_aliases(tree: exp.Query) -> None:
    """Put what each name means in its place. Raises Invalid for what no one could tell."""
    for select in list(tree.find_all(exp.Select)):
        items = named_items(select)
        if not items:
            continue
        _check_pipe(select, items)
        _put_groups(select, items)
        for clause in _CLAUSES:
            if select.args.get(clause) is not None:
                _put(select, clause, items)
    check_size(tree)


def named_items(select: exp.Select) -> dict[str, list[Item]]:
    """By lower-case name; a name may stand twice as long as nobody asks for it."""
    items: dict[str, list[Item]] = {}
    is_behind_star = False
    for number, projection in enumerate(select.expressions, start=1):
        is_behind_star |= projection.is_star
        is_named = isinstance(projection, exp.Alias | exp.Column | exp.Dot)
        if not is_named or projection.is_star:
            continue
        name = projection.output_name.lower()
        place = None if is_behind_star else number
        found = Item(name=name, value=projection.unalias(), place=place)
        if found.value not in [item.value for item in items.get(name, ())]:
            items.setdefault(name, []).append(found)
    return items


def _put_groups(select: exp.Select, items: dict[str, list[Item]]) -> None:
    group = select.args.get("group")
    if group is None:
        return
    for column in [key for key in _keys(group) if isinstance(key, exp.Column)]:
        item = _meant(column, items, select)
        if item is None or item.is_column:
            continue
        if item.value.find(exp.AggFunc, exp.Window) is not None:
            raise refused(
                f"{item.name} is an aggregate of the SELECT list: it cannot be grouped by",
                at=column,
                hint="write the table's alias before it, if the column is meant",
            )
        is_whole = _bare(column) == item.name and item.place is not None
        new = exp.Literal.number(item.place) if is_whole else _in_place_of(column, item)
        column.replace(new)


def _keys(group: exp.Expr) -> Iterator[exp.Expr]:
    """What is grouped by, inside of ROLLUP, CUBE and GROUPING SETS as well."""
    for key in group.iter_expressions():
        bare = key.unnest()
        if isinstance(bare, exp.Rollup | exp.Cube | exp.GroupingSets | exp.Tuple):
            yield from _keys(bare)
        else:
            yield bare


def _put(select: exp.Select, clause: str, items: dict[str, list[Item]]) -> None:
    """DuckDB sorts by an alias that stands alone; anything else is written out."""
    size = 0
    for column in [
        node for node in walk_in_scope(select.args[clause]) if isinstance(node, exp.Column)
    ]:
        item = _meant(column, items, select)
        if item is None or item.is_column:
            continue
        if _bare(column) == item.name and _is_sorted_by(column, select):
            continue
        _check_aggregate(column, item)
        size += sum(1 for _ in item.value.walk())
        if size > MAX_SIZE:
            raise refused("the statement is too complicated", hint="name the parts with WITH")
        column.replace(_in_place_of(column, item))


def _is_sorted_by(column: exp.Column, select: exp.Select) -> bool:
    """Whether it is all of an item of the SELECT's own ORDER BY."""
    item = column.parent
    order = item.parent if isinstance(item, exp.Ordered) else None
    return order is not None and order.parent is select


def _meant(column: exp.Column, items: dict[str, list[Item]], select: exp.Select) -> Item | None:
    """The item whose name begins the column's path."""
    first = column.parts[0].name.lower()
    found = items.get(first, [])
    if not found or isinstance(column.this, exp.Star):
        return None
    is_path = len(column.parts) > 1
    if is_path and _is_table(first, select):
        if all(_bare(item.value) == first and item.is_column for item in found):
            return None
        raise refused(
            f"{first} is a table and a name of the SELECT list: "
            f"{column.sql('bigquery')} could be either's",
            at=column,
            hint="give the table another alias",
        )
    if len(found) > 1:
        raise refused(
            f"{first} stands twice in the SELECT list",
            at=column,
            hint="write the table's alias before it, or give one of them another name",
        )
    return found[0]


def _is_table(name: str, select: exp.Select) -> bool:
    sources = [select.args.get("from_"), *(select.args.get("joins") or ())]
    tables = [source.this for source in sources if source is not None]
    return any(table.alias_or_name.lower() == name for table in tables)


def _check_aggregate(column: exp.Column, item: Item) -> None:
    around = column.find_ancestor(exp.AggFunc, exp.Select)
    is_inside = isinstance(around, exp.AggFunc) and not isinstance(around.parent, exp.Window)
    if is_inside and item.value.find(exp.AggFunc) is not None:
        raise refused(
            f"{item.name} is an aggregate of the SELECT list: it cannot be aggregated again",
            at=column,
            hint=f"write {item.name} alone, or the table's alias before it",
        )


def _in_place_of(column: exp.Column, item: Item) -> exp.Expr:
    value: exp.Expr = item.value.copy()
    if not isinstance(value, exp.Column | exp.Literal | exp.Func):
        value = exp.paren(value, copy=False)
    for part in column.parts[1:]:
        value = exp.Dot(this=value, expression=part.copy())
    return value


def _check_pipe(select: exp.Select, items: dict[str, list[Item]]) -> None:
    """What a pipe sorts by is what its rows were then, before SELECT names them anew."""
    part = select.parent
    order = select.args.get("order")
    if order is None or not isinstance(part, exp.CTE) or not part.alias.startswith(_PIPE):
        return
    for column in order.find_all(exp.Column):
        if any(not item.is_column for item in items.get(column.parts[0].name.lower(), ())):
            raise refused(
                f"the pipe sorts by {column.name}, then names something else so",
                at=column,
                hint="sort at the end of the pipe",
            )


def _bare(node: exp.Expr) -> str:
    """The name of a column that is written without a table, else nothing."""
    is_bare = isinstance(node, exp.Column) and len(node.parts) == 1
    return node.name.lower() if is_bare else ""
