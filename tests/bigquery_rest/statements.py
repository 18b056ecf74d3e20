"""Statements of BigQuery SQL become DuckDB's, with what they read and how much of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import duckdb
from sqlglot import exp, parse_one
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import SqlglotError

from convergence.errors import Invalid
from convergence.model.table import Column
from convergence.warehouse.files.types import described
from convergence.warehouse.sql.arrays import name_fields, rewrite_arrays
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.infer import annotate
from convergence.warehouse.sql.names import Resolved, TableKind, TableRef, number_tables, path_of
from convergence.warehouse.sql.rules import apply_rules
from tests.bigquery_rest import views, wire
from tests.bigquery_rest.catalog import Catalog
from tests.bigquery_rest.faults import ApiError, invalid, not_found
from tests.bigquery_rest.parameters import bind
from tests.bigquery_rest.tables import PSEUDO, Name, Table
from tests.bigquery_rest.wire import Json

SUFFIX = Column(name="_TABLE_SUFFIX", type="STRING")


def parse(sql: str, parameters: Sequence[Json]) -> list[exp.Expr]:
    try:
        trees = BigQuery().parser().parse(BigQuery().tokenize(sql), sql)
    except SqlglotError as error:
        raise invalid(f"Syntax error: {str(error).splitlines()[0]}", "invalidQuery") from None
    return [bind(tree, parameters) for tree in trees if tree is not None]


def bad_query(error: Exception) -> ApiError:
    return invalid(str(error).splitlines()[0], "invalidQuery")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A query or a DML statement that could run. `columns` are those of a query's result."""

    tree: exp.Expr
    sql: str
    tables: tuple[Table, ...]
    columns: tuple[Column, ...]
    scanned: int


@dataclass(kw_only=True)
class Reader:
    """Prepares statements of one job; what they name is looked up from `project`."""

    catalog: Catalog
    project: str
    default_dataset: str | None
    _refs: dict[TableRef, list[Table]] = field(default_factory=dict)

    def prepare(self, tree: exp.Expr) -> Prepared:
        """Raises ApiError as BigQuery refuses before it runs anything."""
        self._hide_pseudo_columns(tree)
        _name_columns(tree)
        try:
            refs = number_tables(tree, self._ref)
            resolved = Resolved(tree=tree, refs=refs, project=self.project)  # type: ignore[arg-type] # DML too
            sql = self._translate(resolved)
            scanned = self._scanned(resolved)
            columns = self.describe(sql) if isinstance(tree, exp.Query) else ()
        except (Invalid, duckdb.Error) as error:
            raise bad_query(error) from None
        tables = {table.name: table for ref in refs for table in self._refs[ref]}
        return Prepared(
            tree=tree, sql=sql, tables=tuple(tables.values()), columns=columns, scanned=scanned
        )

    def describe(self, sql: str) -> tuple[Column, ...]:
        with self.catalog.connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM ({sql}) LIMIT 0")  # noqa: S608 - of our translator
            return tuple(wire.column_of(name, type_) for name, type_ in described(cursor).items())

    def name(self, table: exp.Table) -> Name:
        path = path_of(table)
        if len(path) == 1:
            if self.default_dataset is None:
                what = f'Table "{path[0]}" must be qualified with a dataset (e.g. dataset.table).'
                raise invalid(what)
            path = (self.default_dataset, *path)
        return Name(*path) if len(path) == 3 else Name(self.project, *path)

    def _ref(self, table: exp.Table) -> TableRef:
        """What a name stands for; `dataset` and `table` of it are only a key."""
        path = path_of(table)
        if len(path) > 2 and path[-2].upper() == "INFORMATION_SCHEMA":
            project = path[0] if len(path) == 4 else self.project
            return self._keep((), f"{project}.{path[-3]}", path[-1].upper(), is_view=True)
        name = self.name(table)
        if name.table.endswith("*"):
            dataset = self.catalog.dataset(name.project, name.dataset)
            start = name.table.removesuffix("*")
            found = [table for key, table in dataset.tables.items() if key.startswith(start)]
            if not found:
                raise not_found(f"{name} does not match any table")
            return self._keep(found, str(name), name.table)
        one = self.catalog.table(name)
        moment = self._moment(table)
        rows = one.name.duckdb if moment is None else self.catalog.as_of(one, moment)
        return self._keep([one], str(name), rows)

    def _keep(
        self, tables: Sequence[Table], dataset: str, table: str, *, is_view: bool = False
    ) -> TableRef:
        kind = TableKind.CENTRAL if is_view else TableKind.DATASET
        ref = TableRef(kind=kind, dataset=dataset, table=table)
        self._refs[ref] = list(tables)
        return ref

    def _moment(self, table: exp.Table) -> int | None:
        version = table.args.get("version")
        if version is None:
            return None
        table.set("version", None)
        micros = exp.func("UNIX_MICROS", version.expression.copy(), dialect="bigquery")
        resolved = Resolved(tree=exp.select(micros), refs=(), project="")
        return int(self.catalog.value(to_duckdb(resolved, place=_nowhere, columns=lambda _: ())))

    def _translate(self, resolved: Resolved) -> str:
        tree: exp.Expr = resolved.tree
        if isinstance(tree, exp.Query):
            return to_duckdb(resolved, place=self._place, columns=self._columns)
        return self._translate_change(resolved, tree.copy())

    def _translate_change(self, resolved: Resolved, tree: exp.Expr) -> str:
        known = {ref: self._columns(ref) for ref in resolved.refs}
        name_fields(tree)  # type: ignore[arg-type] # any tree will do
        for query in _outermost_queries(tree):
            annotate(resolved, query, known)
        rewrite_arrays(tree)  # type: ignore[arg-type] # the same
        apply_rules(tree)  # type: ignore[arg-type] # the same
        target = tree.find(exp.Table)
        for table in list(tree.find_all(exp.Table)):
            if (ref := resolved.ref_of(table)) is not None:
                stand_in = self._target(ref) if table is target else self._place(ref)
                stand_in.set("alias", table.args.get("alias"))
                table.replace(stand_in)
        for row in [node for node in tree.find_all(exp.Insert) if node.this == exp.var("ROW")]:
            row.set("this", exp.var("*"))
        return tree.sql("duckdb", identify=True)

    def _target(self, ref: TableRef) -> exp.Expr:
        (table,) = self._refs[ref]
        return _duck(table.name.duckdb)

    def _place(self, ref: TableRef) -> exp.Expr:
        if ref.kind is TableKind.CENTRAL:
            return self._information(ref)
        found = self._refs[ref]
        if ref.table.endswith("*"):
            start = len(ref.table) - 1
            parts = [self._rows_of(table) for table in found]
            union = " UNION ALL BY NAME ".join(
                f"SELECT *, '{table.name.table[start:]}' AS _TABLE_SUFFIX FROM ({part})"  # noqa: S608 - names
                for table, part in zip(found, parts, strict=True)
            )
            return _subquery(union)
        (table,) = found
        if table.view_query is not None or table.has_pseudo_columns:
            return _subquery(self._rows_of(table, ref.table))
        return _duck(ref.table)

    def _rows_of(self, table: Table, rows: str = "") -> str:
        if table.view_query is not None:
            inner = Reader(catalog=self.catalog, project=table.name.project, default_dataset=None)
            return inner.prepare(parse(table.view_query, ())[0]).sql
        rows = rows or table.name.duckdb
        if not table.has_pseudo_columns:
            return f"SELECT * FROM {rows}"  # noqa: S608 - of our own naming
        return f'SELECT *, CAST("_PARTITIONTIME" AS DATE) AS "_PARTITIONDATE" FROM {rows}'  # noqa: S608 - the same

    def _columns(self, ref: TableRef) -> tuple[Column, ...]:
        if ref.kind is TableKind.CENTRAL:
            return views.columns(ref.table)
        found = {column.name: column for table in self._refs[ref] for column in table.columns}
        is_wildcard = ref.table.endswith("*")
        has_pseudo = any(table.has_pseudo_columns for table in self._refs[ref])
        extra = (*(PSEUDO if has_pseudo else ()), *((SUFFIX,) if is_wildcard else ()))
        return (*found.values(), *extra)

    def _information(self, ref: TableRef) -> exp.Expr:
        if ref.table not in views.SHAPES:
            raise not_found(f"Table {ref.dataset}.INFORMATION_SCHEMA.{ref.table}")
        project, _, dataset = ref.dataset.rpartition(".")
        rows = views.rows(self.catalog, self.catalog.dataset(project, dataset), ref.table)
        return _duck(self.catalog.keep(views.columns(ref.table), rows))

    def _hide_pseudo_columns(self, tree: exp.Expr) -> None:
        """`SELECT *` does not give them; whoever names them gets them."""
        for select in list(tree.find_all(exp.Select)):
            named = [table for table in _read_by(select) if self._may_have_pseudo(table)]
            stars = [column for column in select.expressions if column.is_star]
            for star in stars if named else []:
                node = star if isinstance(star, exp.Star) else star.this
                hidden = [exp.to_identifier(column.name) for column in PSEUDO]
                node.set("except_", [*(node.args.get("except_") or ()), *hidden])

    def _may_have_pseudo(self, table: exp.Table) -> bool:
        try:
            return self.catalog.table(self.name(table)).has_pseudo_columns
        except (ApiError, TypeError):  # a name of WITH, of an UNNEST, of a view
            return False

    def _scanned(self, resolved: Resolved) -> int:
        """Bytes of the named columns in the partitions that constant conditions leave."""
        total = 0
        words = {column.name.lower() for column in resolved.tree.find_all(exp.Column)}
        for select in resolved.tree.find_all(exp.Select):
            for table in _read_by(select):
                ref = resolved.ref_of(table)
                for one in self._refs[ref] if ref is not None else ():
                    if one.view_query is None:
                        rows = self._rows_left(one, table, select, resolved)
                        total += rows * _width(one, select, words)
        return total

    def _rows_left(
        self, one: Table, table: exp.Table, select: exp.Select, resolved: Resolved
    ) -> int:
        where = select.args.get("where")
        parts = where.this.flatten() if where and isinstance(where.this, exp.And) else []
        parts = list(parts) or ([where.this] if where else [])
        pruning = [part for part in parts if _prunes(part, one.partition_columns, table.alias)]
        count = exp.select(exp.Count(this=exp.Star(), big_int=True))
        query = count.from_(table.copy()).where(*(part.copy() for part in pruning))
        asked = Resolved(tree=query, refs=resolved.refs, project="")
        return int(self.catalog.value(to_duckdb(asked, place=self._place, columns=self._columns)))


def _name_columns(tree: exp.Expr) -> None:
    """What is not a column and has no alias is f0_, f1_ … whatever it is made of."""
    select = tree.find(exp.Select) if isinstance(tree, exp.Query) else None
    columns = select.expressions if select is not None else []
    named = exp.Column | exp.Alias | exp.Star | exp.Dot
    unnamed = [column for column in columns if not isinstance(column, named)]
    for number, column in enumerate(unnamed):
        column.replace(exp.alias_(column.copy(), f"f{number}_"))


def _prunes(condition: exp.Expr, columns: frozenset[str], alias: str) -> bool:
    """Whether it is about the partition and constants alone."""
    named = list(condition.find_all(exp.Column))
    is_ours = all(
        column.name.lower() in columns and column.table in {"", alias} for column in named
    )
    return bool(named) and is_ours and condition.find(exp.Query) is None


def _width(table: Table, select: exp.Select, words: set[str]) -> int:
    has_star = any(column.is_star for column in select.expressions)
    read = [column for column in table.columns if has_star or column.name.lower() in words]
    return sum(map(wire.width, read))


def _read_by(select: exp.Select) -> Iterator[exp.Table]:
    clauses = [select.args.get("from_"), *(select.args.get("joins") or ())]
    for clause in clauses:
        if clause is not None and isinstance(clause.this, exp.Table):
            yield clause.this


def _outermost_queries(tree: exp.Expr) -> list[exp.Query]:
    return [node for node in tree.find_all(exp.Query) if node.find_ancestor(exp.Query) is None]


def _duck(name: str) -> exp.Expr:
    return exp.to_table(name, dialect="duckdb")


def _subquery(sql: str) -> exp.Subquery:
    query = parse_one(sql, dialect="duckdb")
    assert isinstance(query, exp.Query)
    return query.subquery()


def _nowhere(ref: TableRef) -> exp.Expr:
    raise invalid(f"{ref.table} cannot be read here")
