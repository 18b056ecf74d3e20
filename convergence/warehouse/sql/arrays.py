"""UNNEST as DuckDB runs it fast: a subquery in FROM, or a list function where only a sum is asked.

A correlated `FROM UNNEST(..)` joins row by row; `(SELECT UNNEST(..))` was nine times as fast.
"""

from sqlglot import exp

from convergence.warehouse.sql.calls import call
from convergence.warehouse.sql.infer import element_fields
from convergence.warehouse.sql.statement import refused


def name_fields(tree: exp.Query) -> None:
    """`[STRUCT(1 AS a), (2)]`: the first element names the fields of all."""
    for array in list(tree.find_all(exp.Array)):
        _name_struct_fields(array)


def rewrite_arrays(tree: exp.Query) -> None:
    """Needs the types that `infer` set: by them implicit fields of structs are found."""
    for query in list(tree.find_all(exp.Subquery)):
        total = _sum_of_list(query)
        if total is not None:
            query.replace(total)
    for unnest in list(tree.find_all(exp.Unnest)):
        if not isinstance(unnest.parent, exp.In):
            unnest.replace(_unnested(unnest))


def _name_struct_fields(array: exp.Array) -> None:
    first, *others = array.expressions or [None]
    if not isinstance(first, exp.Struct):
        return
    names = [field.this for field in first.expressions if isinstance(field, exp.PropertyEQ)]
    for other in others:
        values = [other.this] if isinstance(other, exp.Paren) else other.expressions
        if len(names) != len(first.expressions) or len(values) != len(names):
            raise refused("the structs of an array differ in their fields", at=array)
        if not any(isinstance(value, exp.PropertyEQ) for value in values):
            fields = [
                exp.PropertyEQ(this=name.copy(), expression=value.copy())
                for name, value in zip(names, values, strict=True)
            ]
            other.replace(exp.Struct(expressions=fields))


def _sum_of_list(query: exp.Subquery) -> exp.Expr | None:
    """`(SELECT SUM(f(c)) FROM UNNEST(array) c)`, a value, as a sum over a list."""
    select = query.this
    if not isinstance(select, exp.Select) or not _is_value(query):
        return None
    clauses = {name for name, value in select.args.items() if value}
    if not clauses <= {"expressions", "from_", "kind"} or len(select.expressions) != 1:
        return None
    total = select.expressions[0].unalias()
    unnest = select.args["from_"].this if "from_" in clauses else None
    if not isinstance(total, exp.Sum) or not isinstance(unnest, exp.Unnest):
        return None
    names = unnest.alias_column_names
    if len(names) != 1 or unnest.args.get("offset") or not _is_only_of(total.this, names[0]):
        return None
    function = exp.Lambda(this=total.this.copy(), expressions=[exp.to_identifier(names[0])])
    mapped = call("LIST_TRANSFORM", unnest.expressions[0].copy(), function)
    result = call("LIST_SUM", mapped)
    result.type = query.type
    return result


def _is_value(query: exp.Subquery) -> bool:
    return not query.alias and not isinstance(
        query.parent, exp.From | exp.Join | exp.In | exp.Exists | exp.SetOperation | exp.Subquery
    )


def _is_only_of(expression: exp.Expr, name: str) -> bool:
    if expression.find(exp.Query, exp.AggFunc, exp.Window, exp.Distinct) is not None:
        return False
    columns = list(expression.find_all(exp.Column))
    return bool(columns) and all(column.parts[0].name.lower() == name.lower() for column in columns)


def _unnested(unnest: exp.Unnest) -> exp.Subquery:
    array = unnest.expressions[0]
    names = unnest.alias_column_names
    alias = names[0] if names else ""
    exploded = _needs_fields(unnest, alias)
    arguments = [array.copy()]
    if exploded:
        arguments.append(exp.PropertyEQ(this=exp.var("max_depth"), expression=exp.convert(2)))
    value: exp.Expr = call("UNNEST", *arguments)
    if alias and not exploded:
        value = exp.alias_(value, alias, quoted=True)
    projections = [value]
    offset = unnest.args.get("offset")
    if offset:
        name = offset.name if isinstance(offset, exp.Identifier) else "offset"
        place = call("GENERATE_SUBSCRIPTS", array.copy(), exp.convert(1))
        projections.append(exp.alias_(exp.paren(place) - 1, name, quoted=True))
    return exp.select(*projections).subquery(alias if exploded and alias else None)


def _needs_fields(unnest: exp.Unnest, alias: str) -> bool:
    """Whether fields of the structs are read without naming the element."""
    fields = element_fields(unnest.expressions[0])
    select = unnest.find_ancestor(exp.Select)
    if not fields or select is None:
        return False
    if not alias or any(projection.is_star for projection in select.expressions):
        return True
    return any(
        len(column.parts) == 1 and column.name.lower() in fields
        for column in select.find_all(exp.Column)
    )
