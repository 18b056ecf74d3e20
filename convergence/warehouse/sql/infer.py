"""Types of a query's expressions, from the tables it reads: what the rules of translation ask."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.annotate_types import TypeAnnotator
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from convergence.model.table import Column, Mode
from convergence.warehouse.sql.names import Resolved, TableRef
from convergence.warehouse.sql.statement import refused

Columns = Mapping[TableRef, tuple[Column, ...]]
Types = Mapping[str, exp.DataType]

_PSEUDO_COLUMNS = {
    "_table_suffix": "filter on the usage or the export time instead",
    "_partitiontime": "filter on export_time instead",
    "_partitiondate": "filter on export_time instead",
}


_EXACT = {exp.DType.DECIMAL, exp.DType.BIGDECIMAL}
_OPERATORS: tuple[type[exp.Expr], ...] = (exp.Add, exp.Sub, exp.Mul, exp.Div)
_POWERS: tuple[type[exp.Expr], ...] = (exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log)


def _of_operands(
    annotator: TypeAnnotator,
    node: exp.Expr,
    otherwise: Callable[[TypeAnnotator, exp.Expr], exp.Expr],
) -> exp.Expr:
    """A literal with a fraction beside a NUMERIC is one; a power of NUMERIC is NUMERIC."""
    otherwise(annotator, node)
    sides = list(node.iter_expressions())
    exact = [side.type for side in sides if side.type is not None and side.type.this in _EXACT]
    others = [side for side in sides if side.type is None or side.type.this not in _EXACT]
    if exact and all(_is_number(side) for side in others):
        node.type = exact[0].copy()
    return node


def _is_number(node: exp.Expr) -> bool:
    literal = node.unnest()
    literal = literal.this if isinstance(literal, exp.Neg) else literal
    is_whole = node.is_type(exp.DType.BIGINT, exp.DType.INT)
    return is_whole or (isinstance(literal, exp.Literal) and literal.is_number)


def _annotated(kind: type[exp.Expr]) -> dict[str, Any]:
    spec = BigQuery.EXPRESSION_METADATA.get(kind, {})
    written = spec.get("annotator")
    returns = spec.get("returns")

    def otherwise(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
        if written is not None:
            return cast("exp.Expr", written(annotator, node))
        node.type = returns
        return node

    return {"annotator": lambda annotator, node: _of_operands(annotator, node, otherwise)}


_METADATA = {
    **BigQuery.EXPRESSION_METADATA,
    **{kind: _annotated(kind) for kind in (*_OPERATORS, *_POWERS)},
}


def annotate(resolved: Resolved, tree: exp.Query, columns: Columns) -> None:
    """Set `type` on the nodes of `tree`, a copy of the resolved one; UNKNOWN where none is known.

    Raises Invalid for two tables of one name, and for pseudo-columns that the table lacks.
    """
    lookup = _Lookup(resolved, columns)
    schema = MappingSchema(dialect="bigquery")
    annotator = TypeAnnotator(schema=schema, expression_metadata=_METADATA, overwrite_types=False)
    for scope in traverse_scope(tree):
        for column in scope.find_all(exp.Column):
            lookup.set_type(column, scope)
        for typed in reversed(list(scope.find_all(exp.Cast))):  # has a type, so is not entered
            annotator.annotate_expression(typed.this)
        annotator.annotate(scope.expression, annotate_scope=False)


def element_fields(array: exp.Expr) -> tuple[str, ...]:
    """The field names when `array` is known to be an ARRAY of STRUCT, else none."""
    element = _element(array.type)
    return tuple(_fields(element)) if element is not None else ()


@lru_cache(maxsize=512)
def column_types(columns: tuple[Column, ...]) -> Types:
    """Types by lower-case name."""
    return {column.name.lower(): _data_type(column) for column in columns}


class _Lookup:
    """Finds what a column's name means in a scope, or in those around it."""

    def __init__(self, resolved: Resolved, columns: Columns) -> None:
        self._resolved = resolved
        self._columns = columns
        self._outputs: dict[int, Types] = {}

    def set_type(self, column: exp.Column, scope: Scope) -> None:
        if isinstance(column.this, exp.Star):
            return
        found = self.find([part.name.lower() for part in column.parts], scope)
        if found is not None:
            column.type, source = found
            column.meta["stored"] = _is_stored(source)
        elif (hint := _PSEUDO_COLUMNS.get(column.name.lower())) is not None:
            raise refused(f"{column.name} is not available here", at=column, hint=hint)

    def find(
        self, path: list[str], scope: Scope | None
    ) -> tuple[exp.DataType, exp.Table | Scope] | None:
        """The type, and the source whose column it is."""
        while scope is not None:
            sources = _sources(scope)
            if len(path) > 1 and path[0] in sources:
                source = sources[path[0]]
                return _with(source, _walk(self.outputs(source, scope).get(path[1]), path[2:]))
            for source in sources.values():
                if (found := self.outputs(source, scope).get(path[0])) is not None:
                    return _with(source, _walk(found, path[1:]))
            scope = scope.parent
        return None

    def outputs(self, source: exp.Table | Scope, scope: Scope) -> Types:
        key = id(source)
        if key not in self._outputs:
            self._outputs[key] = {}  # a recursive WITH meets itself here
            self._outputs[key] = dict(self._outputs_of(source, scope))
        return self._outputs[key]

    def _outputs_of(
        self, source: exp.Table | Scope, scope: Scope
    ) -> Iterator[tuple[str, exp.DataType]]:
        if isinstance(source, exp.Table):
            yield from self._outputs_of_table(source)
        elif isinstance(source.expression, exp.Unnest):
            yield from self._outputs_of_unnest(source.expression, scope)
        elif source.set_operation_scopes:
            yield from self.outputs(source.set_operation_scopes[0], source).items()
        elif isinstance(source.expression, exp.Select):
            yield from self._outputs_of_select(source.expression, source)

    def _outputs_of_table(self, table: exp.Table) -> Iterator[tuple[str, exp.DataType]]:
        ref = self._resolved.ref_of(table)
        if ref is not None and not table.args.get("pivots"):
            yield from column_types(self._columns[ref]).items()

    def _outputs_of_unnest(
        self, unnest: exp.Unnest, scope: Scope
    ) -> Iterator[tuple[str, exp.DataType]]:
        array = unnest.expressions[0]
        if isinstance(array, exp.Column):
            self.set_type(array, scope)
        element = _element(array.type)
        if element is not None:
            yield from _fields(element).items()
            for name in unnest.alias_column_names:
                yield name.lower(), element
        offset = unnest.args.get("offset")
        if isinstance(offset, exp.Identifier):
            yield offset.name.lower(), exp.DType.BIGINT.into_expr()

    def _outputs_of_select(
        self, select: exp.Select, scope: Scope
    ) -> Iterator[tuple[str, exp.DataType]]:
        for projection in select.expressions:
            if projection.is_star:
                wanted = projection.args.get("table")
                for name, source in _sources(scope).items():
                    if wanted is None or name == wanted.name.lower():
                        yield from self.outputs(source, scope).items()
            elif projection.type is not None:
                yield projection.alias_or_name.lower(), projection.type


def _sources(scope: Scope) -> dict[str, exp.Table | Scope]:
    """What the scope reads FROM, by lower-case alias."""
    try:
        selected = scope.selected_sources
    except OptimizeError as error:
        said = str(error).splitlines()[0]
        if said.endswith(": "):
            said = "two of what FROM reads have no alias"
        raise refused(said, code="sql_syntax", hint="give each an alias of its own") from None
    return {name.lower(): source for name, (_, source) in selected.items()}


def _with(
    source: exp.Table | Scope, kind: exp.DataType | None
) -> tuple[exp.DataType, exp.Table | Scope] | None:
    return (kind, source) if kind is not None else None


def _is_stored(source: exp.Table | Scope) -> bool:
    """Whether a column of it is read from a table as it is, or from an array there."""
    if isinstance(source, exp.Table):
        return True
    unnest = source.expression
    return isinstance(unnest, exp.Unnest) and bool(unnest.expressions[0].meta_get("stored"))


def _walk(found: exp.DataType | None, path: list[str]) -> exp.DataType | None:
    for name in path:
        found = _fields(found).get(name) if found is not None else None
    return found


def _element(array: exp.DataType | None) -> exp.DataType | None:
    if array is None or not array.is_type(exp.DType.ARRAY) or not array.expressions:
        return None
    element = array.expressions[0]
    return element if isinstance(element, exp.DataType) else None


def _fields(struct: exp.DataType) -> Types:
    if not struct.is_type(exp.DType.STRUCT):
        return {}
    return {
        field.name.lower(): field.args["kind"]
        for field in struct.expressions
        if isinstance(field, exp.ColumnDef) and field.args.get("kind") is not None
    }


def _data_type(column: Column) -> exp.DataType:
    if column.fields:
        members = [
            exp.ColumnDef(this=exp.to_identifier(field.name), kind=_data_type(field))
            for field in column.fields
        ]
        one = exp.DataType(this=exp.DType.STRUCT, expressions=members, nested=True)
    else:
        one = exp.DataType.build(column.type, dialect="bigquery")
    if column.mode is not Mode.REPEATED:
        return one
    return exp.DataType(this=exp.DType.ARRAY, expressions=[one], nested=True)
