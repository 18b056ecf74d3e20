"""Variables and parameters become literals and checked identifiers on the syntax tree."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import lru_cache

from sqlglot import exp

from convergence.errors import Invalid
from convergence.warehouse.question import Parameters, Value
from convergence.warehouse.sql.statement import VARIABLE_MARK, parse, refused

_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PART = re.compile(r"[A-Za-z0-9_-]+")
_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\*?")


def fill(
    template: str | exp.Query, names: Mapping[str, Value], parameters: Parameters | None
) -> exp.Query:
    """The query with every `{name}` and `@name` in place; a tree that is given is not changed.
    Without `parameters` each `@name` stays.

    `{name}` inside quotes is text, inside backticks part of an identifier, bare a typed value or,
    where a table stands, its path. Values are never read as SQL nor filled again. Raises Invalid,
    code unknown_variable or invalid_variable.
    """
    tree = (_parsed(template) if isinstance(template, str) else template).copy()
    for node in list(tree.walk()):
        if isinstance(node, exp.Parameter):
            if parameters is not None:
                node.replace(literal(_value(node.name, parameters, node, sign="@"), node))
        elif isinstance(node, exp.Identifier):
            _fill_identifier(node, names)
        elif isinstance(node, exp.Literal | exp.RawString) and _VARIABLE.search(node.name):
            node.replace(exp.Literal.string(_fill_text(node, names)))
        else:
            _check_no_variable(node)
    return tree


def put_parameters(query: exp.Query, parameters: Parameters) -> exp.Query:
    """A copy with each `@name` in place, and no other text looked at. Raises Invalid."""
    tree = query.copy()
    for node in list(tree.find_all(exp.Parameter)):
        node.replace(literal(_value(node.name, parameters, node, sign="@"), node))
    return tree


@lru_cache(maxsize=64)
def _parsed(template: str) -> exp.Query:
    """Kept: a template is filled for many days, and takes longer to read than to copy."""
    return parse(template)


def literal(value: Value, at: exp.Expr) -> exp.Expr:
    """A typed literal of BigQuery: dates as DATE, aware datetimes as TIMESTAMP in UTC."""
    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(_text(value, at)), exp.DType.TIMESTAMPTZ)
    if isinstance(value, date):
        return exp.cast(exp.Literal.string(value.isoformat()), exp.DType.DATE)
    if isinstance(value, str):
        return exp.Literal.string(_text(value, at))
    return (
        exp.paren(exp.convert(value))
        if isinstance(value, int) and value < 0
        else exp.convert(value)
    )


def _fill_identifier(node: exp.Identifier, names: Mapping[str, Value]) -> None:
    parent = node.parent
    if not node.name.startswith(VARIABLE_MARK):
        if _VARIABLE.search(node.name):
            allowed = _PATH if isinstance(parent, exp.Table | exp.Dot) else _PART
            node.set("this", _checked(_fill_text(node, names), allowed, node))
        return
    value = _value(node.name.removeprefix(VARIABLE_MARK), names, node)
    if isinstance(parent, exp.Table):
        node.set("this", _checked(_text(value, node), _PATH, node))
    elif isinstance(parent, exp.Column) and len(parent.parts) == 1:
        parent.replace(literal(value, node))
    else:
        name = node.name.removeprefix(VARIABLE_MARK)
        raise refused(
            f"{{{name}}} stands where neither a value nor a table can be",
            at=node,
            code="invalid_variable",
            hint=f"for a part of a name write it in backticks: `{{{name}}}`",
        )


def _fill_text(node: exp.Expr, names: Mapping[str, Value]) -> str:
    return _VARIABLE.sub(lambda found: _text(_value(found[1], names, node), node), node.name)


def _value(name: str, names: Mapping[str, Value], at: exp.Expr, *, sign: str = "") -> Value:
    if name in names:
        return names[name]
    close = get_close_matches(name, names, n=1)
    shown = f"{sign}{name}" if sign else f"{{{name}}}"
    raise refused(
        f"{shown} is not known here",
        at=at,
        code="unknown_variable",
        hint=f"did you mean {close[0]}?"
        if close
        else f"known: {', '.join(sorted(names)) or 'none'}",
    )


def _text(value: Value, at: exp.Expr) -> str:
    if value is None:
        raise _unfit("a variable without a value stands in a text or a name", at)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ")
    text = value.isoformat() if isinstance(value, date) else str(value)
    if "\0" in text or not _is_unicode(text):
        raise _unfit("a value holds a character that no text can hold", at)
    return text


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _checked(text: str, allowed: re.Pattern[str], at: exp.Expr) -> str:
    if not allowed.fullmatch(text):
        raise _unfit(f"{text[:60]!r} cannot be a name", at)
    return text


def _unfit(what: str, at: exp.Expr) -> Invalid:
    return refused(
        what, at=at, code="invalid_variable", hint="names hold letters, digits, _ and - only"
    )


def _check_no_variable(node: exp.Expr) -> None:
    """Some texts are taken apart while parsing (JSON paths): a variable there would stay."""
    for value in node.args.values():
        if isinstance(value, str) and _VARIABLE.search(value):
            raise refused(
                f"{value[:60]!r}: no variable can stand here", at=node, code="invalid_variable"
            )
