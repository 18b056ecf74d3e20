"""Query parameters of the wire become literals on the syntax tree."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp, parse_one

from tests.bigquery_rest.faults import invalid
from tests.bigquery_rest.wire import Json

_BARE = frozenset({"INT64", "INTEGER", "BOOL", "BOOLEAN"})


def bind(tree: exp.Expr, parameters: Sequence[Json]) -> exp.Expr:
    """Raises ApiError for one that is not given."""
    named = {parameter.get("name", "").lower(): parameter for parameter in parameters}
    ordered = iter(parameters)
    for node in list(tree.find_all(exp.Parameter, exp.Placeholder)):
        if isinstance(node, exp.Placeholder):
            given = next(ordered, None)
        else:
            given = named.get(node.name.lower())
        if given is None:
            raise invalid(f"Query parameter '{node.name}' not found", "invalidQuery")
        node.replace(_literal(given))
    return tree


def _literal(parameter: Json) -> exp.Expr:
    text = _text(parameter["parameterType"], parameter.get("parameterValue") or {})
    select = parse_one(f"SELECT {text}", dialect="bigquery")
    assert isinstance(select, exp.Select)
    return exp.paren(select.expressions[0].copy())


def _text(type_: Json, value: Mapping[str, Any]) -> str:
    name = type_["type"]
    if name == "ARRAY":
        items = [_text(type_["arrayType"], item) for item in value.get("arrayValues") or ()]
        return f"[{', '.join(items)}]" if items else f"CAST([] AS {_type(type_)})"
    if name in {"STRUCT", "RECORD"}:
        given = value.get("structValues") or {}
        members = (
            f"{_text(member['type'], given.get(member['name'], {}))} AS {member['name']}"
            for member in type_["structTypes"]
        )
        return f"STRUCT({', '.join(members)})"
    text = value.get("value")
    if text is None:
        return f"CAST(NULL AS {name})"
    if name in _BARE:
        return str(text)
    quoted = exp.Literal.string(str(text)).sql("bigquery")
    return quoted if name == "STRING" else f"CAST({quoted} AS {name})"


def _type(type_: Json) -> str:
    if type_["type"] == "ARRAY":
        return f"ARRAY<{_type(type_['arrayType'])}>"
    if type_["type"] in {"STRUCT", "RECORD"}:
        members = (f"{member['name']} {_type(member['type'])}" for member in type_["structTypes"])
        return f"STRUCT<{', '.join(members)}>"
    return str(type_["type"])
