"""The isolation gate: every table of a statement is one the caller may read, or it is refused.

Works on the syntax tree, for SQL of tenants and of templates alike. A resolved tree holds no
name of a physical table any more, only numbers; what the engine reads is put in by `to_duckdb`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import count

from sqlglot import exp

from convergence.errors import Invalid, NotFound
from convergence.model.source import GrantedSource
from convergence.warehouse.question import Scope
from convergence.warehouse.sql.allowed import check_allowed
from convergence.warehouse.sql.statement import parse, refused

CENTRAL_DATASET = "tenants"
LAYER = "gcp_silver_cost"
"""`{dataset}.gcp_silver_cost.{table}` is an old name of `{dataset}.{table}`."""
INFORMATION_SCHEMA = "INFORMATION_SCHEMA"
KEPT_CHARACTERS = 20_000
_TABLE_NAME = re.compile(r"[\w-]+")
_VIEWS = frozenset({"COLUMNS", "TABLES"})


class TableKind(StrEnum):
    """A table of a tenant's dataset, a published table of `tenants`, or a granted source."""

    DATASET = "dataset"
    CENTRAL = "central"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRef:
    """A table the caller may read. It need not exist.

    `view` is COLUMNS or TABLES for the information schema of the dataset, and `table` the same.
    """

    kind: TableKind
    dataset: str
    table: str
    view: str = ""
    source: GrantedSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A query whose tables are numbers into `refs` (`ref_of`); every table has an alias.

    `text`, where it is known, says all of it: equal texts of one scope are equal queries.
    """

    tree: exp.Query
    refs: tuple[TableRef, ...]
    project: str
    text: str = ""

    def ref_of(self, table: exp.Table) -> TableRef | None:
        """None for a name that WITH defines."""
        number = table.meta_get("ref")
        return None if number is None else self.refs[number]


def read(
    sql: str,
    scope: Scope,
    *,
    most: int | None = None,
    parameters: frozenset[str] = frozenset(),
) -> Resolved:
    """The statement, checked; `most` limits its rows where it has no LIMIT itself. It may name
    `@parameters`, whose values the engine is given.

    What was asked lately is not read again. Raises Invalid.
    """
    if len(sql) > KEPT_CHARACTERS:
        return _limited(resolve(parse(sql), scope, parameters), most)
    return _read(sql, scope, most, parameters)


@lru_cache(maxsize=512)
def _read(sql: str, scope: Scope, most: int | None, parameters: frozenset[str]) -> Resolved:
    resolved = _limited(resolve(parse(sql), scope, parameters), most)
    return replace(resolved, text=f"{sql}\nLIMIT {most}")


def _limited(resolved: Resolved, most: int | None) -> Resolved:
    if most is None or resolved.tree.args.get("limit") is not None:
        return resolved
    return replace(resolved, tree=resolved.tree.limit(most))


def resolve(tree: exp.Query, scope: Scope, parameters: frozenset[str] = frozenset()) -> Resolved:
    """Check the whole statement and every table in it. `tree` is not changed.

    Raises Invalid: sql_refused, or table_not_readable, which tells nothing about whether the
    table exists.
    """
    tree = tree.copy()
    check_allowed(tree, parameters)
    refs = number_tables(tree, lambda table: _ref(table, scope))
    if scope.tenant_id is None:
        _check_one_dataset(refs)
    return Resolved(tree=tree, refs=refs, project=scope.project)


def number_tables(tree: exp.Expr, ref_of: Callable[[exp.Table], TableRef]) -> tuple[TableRef, ...]:
    """Put a number in the place of each physical table's name; what the numbers stand for."""
    refs: dict[TableRef, int] = {}
    for table in _physical_tables(tree):
        number = refs.setdefault(ref_of(table), len(refs))
        _number(table, number)
    return tuple(refs)


def put_tables(tree: exp.Query, resolved: Resolved, placed: Mapping[TableRef, exp.Expr]) -> None:
    """Put into `tree`, a copy of the resolved one, what stands for each table."""
    for table in list(tree.find_all(exp.Table)):
        ref = resolved.ref_of(table)
        if ref is None:
            continue
        stand_in = placed[ref].copy()
        for name in ("alias", "pivots", "joins", "laterals"):
            stand_in.set(name, table.args.get(name))
        table.replace(stand_in)


def dataset_of(resolved: Resolved, scope: Scope) -> str:
    """Where the statement is asked: the dataset that it reads, else the caller's."""
    own = {ref.dataset for ref in resolved.refs if ref.kind is TableKind.DATASET}
    if own:
        return min(own)
    if scope.tenant_id is None:
        return CENTRAL_DATASET
    if not scope.datasets:
        raise NotFound(f"tenant {scope.tenant_id} has no dataset", code="dataset_not_found")
    return min(scope.datasets)


def reads_files_alone(resolved: Resolved) -> bool:
    """Whether the statement needs no table of any dataset."""
    sources = [ref.source for ref in resolved.refs if ref.source is not None]
    return 0 < len(sources) == len(resolved.refs) and all(each.files for each in sources)


def path_of(table: exp.Table) -> tuple[str, ...]:
    """The written parts of a table's name: a backticked path counts as its parts."""
    return tuple(".".join(part.name for part in table.parts).split("."))


def _physical_tables(tree: exp.Expr) -> list[exp.Table]:
    """Tables that no visible WITH defines. A WITH name is seen after it, and in its query.

    The names of WITH are replaced by numbers: where DuckDB sees one less widely than BigQuery, it
    must not take it for a table or a view of its own.
    """
    physical = []
    names = (f"with {number}" for number in count())
    stack: list[tuple[exp.Expr, Mapping[str, str]]] = [(tree, {})]
    while stack:
        node, visible = stack.pop()
        clause = node.args.get("with_")
        if clause is not None:
            for cte in clause.expressions:
                seen = {**visible, cte.alias.lower(): next(names)}
                stack.append((cte.this, seen if clause.recursive else visible))
                visible = seen
                alias = cte.args["alias"]
                alias.set("this", _anonymous(seen[cte.alias.lower()], alias.this))
        if isinstance(node, exp.Table):
            path = path_of(node)
            name = visible.get(path[0].lower()) if len(path) == 1 else None
            if name is None:
                physical.append(node)
            else:
                _rename(node, name)
        stack.extend((child, visible) for child in node.iter_expressions() if child is not clause)
    return physical


def _number(table: exp.Table, number: int) -> None:
    _rename(table, f"ref {number}")
    table.meta["ref"] = number


def _rename(table: exp.Table, name: str) -> None:
    """Give a table a name that nobody can write, and its own as alias."""
    if not table.alias:
        own = exp.to_identifier(path_of(table)[-1], quoted=True)
        table.set("alias", exp.TableAlias(this=own))
    table.set("this", _anonymous(name, table.parts[-1]))
    table.set("db", None)
    table.set("catalog", None)


def _anonymous(name: str, stands_for: exp.Expr) -> exp.Identifier:
    identifier = exp.to_identifier(name, quoted=True)
    identifier.update_positions(stands_for)
    return identifier


def _ref(table: exp.Table, scope: Scope) -> TableRef:
    path = path_of(table)
    view = ""
    if len(path) > 1 and path[-2].upper() == INFORMATION_SCHEMA and path[-1].upper() in _VIEWS:
        path, view = (*path[:-2], path[-1].upper()), path[-1].upper()
    dataset_and_table = _within_project(path, scope)
    if dataset_and_table is not None:
        dataset, name = dataset_and_table
        if name.endswith("*") and dataset in scope.datasets:
            raise refused(
                f"the wildcard table {name} is not available here",
                at=table.parts[0],
                hint="name each table, joined by UNION ALL, its suffix written as a column in "
                "place of _TABLE_SUFFIX; a source goes by the full name it was granted under",
            )
        if not _TABLE_NAME.fullmatch(name):
            raise _not_readable(table)
        if dataset == CENTRAL_DATASET:
            return TableRef(kind=TableKind.CENTRAL, dataset=dataset, table=name, view=view)
        if dataset in scope.datasets:
            return TableRef(kind=TableKind.DATASET, dataset=dataset, table=name, view=view)
    source = None if view else _granted(path, scope)
    if source is None:
        raise _not_readable(table)
    return TableRef(kind=TableKind.SOURCE, dataset=path[-2], table=path[-1], source=source)


def _within_project(path: tuple[str, ...], scope: Scope) -> tuple[str, str] | None:
    """Dataset and table, when the path can be one of our own; the layer alias is undone."""
    if len(path) == 1:
        own = next(iter(scope.datasets)) if len(scope.datasets) == 1 else None
        return (own, path[0]) if own and scope.tenant_id is not None else None
    if len(path) in {3, 4} and path[-2] == LAYER:
        path = (*path[:-2], path[-1])
    if len(path) == 3 and path[0] == scope.project:
        path = path[1:]
    return (path[0], path[1]) if len(path) == 2 else None


def _granted(path: tuple[str, ...], scope: Scope) -> GrantedSource | None:
    full = (scope.project, *path) if len(path) == 2 else path
    name = ".".join(full)
    return next((source for source in scope.sources if source.table == name), None)


def _not_readable(table: exp.Table) -> Invalid:
    name = ".".join(path_of(table))[:200]
    return refused(
        f"table {name} is unknown or foreign: it cannot be read here",
        at=table.parts[0],
        code="table_not_readable",
        hint="your own tables are `dataset.table` or `project.dataset.table`; "
        "shared ones `tenants.table`; a source goes by the full name it was granted under",
    )


def _check_one_dataset(refs: Iterable[TableRef]) -> None:
    datasets = sorted({ref.dataset for ref in refs if ref.kind is not TableKind.SOURCE})
    if len(datasets) > 1:
        raise refused(
            f"one statement reads {' and '.join(datasets[:3])}",
            hint="the operator reads `tenants` or one tenant's dataset in a statement",
        )
