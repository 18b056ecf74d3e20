"""A column of a file, whatever its form, as the column of the canonical export: DuckDB's trees.

A record may be a STRUCT, columns with dotted names, or JSON text; a repeated record a LIST of
STRUCT, JSON text, or the literal that Python prints; times without a zone are UTC.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp, parse_one

from convergence.model.table import Column, Mode
from convergence.warehouse.files.types import TEXT, SqlType, duck_type
from convergence.warehouse.schemas import gcp_export
from convergence.warehouse.sql import exact

_INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint"}
    | {"utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
)
_FLOATS = frozenset({"float", "double"})
ZONELESS = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})

# The tokens of a Python literal, each as JSON says it: texts in either quote, the rest as it is.
_PYTHON_LITERAL = parse_one(
    r"""ARRAY_TO_STRING(LIST_TRANSFORM(
      REGEXP_EXTRACT_ALL(:v, '''(?:[^''\\]|\\.)*''|"(?:[^"\\]|\\.)*"|[^''"]+'),
      LAMBDA t : CASE WHEN LEFT(t, 1) IN ('''', '"')
        THEN '"' || REGEXP_REPLACE(
          REPLACE(REPLACE(REPLACE(SUBSTRING(t, 2, LENGTH(t) - 2), '\"', '"'), '\''', ''''),
            '"', '\"'),
          '(^|[^\\])((?:\\\\)*)\\x', '\1\2\\u00', 'g') || '"'
        ELSE REPLACE(REPLACE(REPLACE(t, 'None', 'null'), 'True', 'true'), 'False', 'false') END
    ), '')""",
    dialect="duckdb",
)
_AS_JSON = parse_one(
    "CASE WHEN TRIM(:v) IN ('', 'NULL', 'None') THEN NULL"
    " WHEN JSON_VALID(:v) THEN :v ELSE :literal END",
    dialect="duckdb",
)
_WITH_TEXTS = r"""REGEXP_REPLACE(:json, '("(?:%s)"\s*:\s*)(-?[0-9][-+.0-9eE]*)', '\1"\2"', 'g')"""
"""JSON whose numbers of these names are texts: a number would be read as a float."""
_READ = parse_one(
    "CASE WHEN TRIM(:v) NOT IN ('', 'NULL') THEN COALESCE(:read, :error) END", dialect="duckdb"
)
_ELEMENTS = parse_one("FROM_JSON_STRICT(:json, '[\"VARCHAR\"]')", dialect="duckdb")


class WrongType(Exception):
    """A column that cannot become what the export says; the text names it and both types."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a file holds: the expression that reads it and its type."""

    value: exp.Expr
    type: SqlType

    def may_have(self, member: str) -> bool:
        """Whether a record, or each of a list, has the member, as far as the type says."""
        type_ = self.type.children["child"] if self.type.id == "list" else self.type
        if type_.id == "struct":
            return member in type_.children
        return type_.is_text

    def members(self) -> dict[str, "Found"]:
        return {
            name: Found(_call("STRUCT_EXTRACT", self.value, exp.Literal.string(name)), type_)
            for name, type_ in self.type.children.items()
        }


def pick(column: Column, available: Mapping[str, Found], prefix: str = "") -> exp.Expr | None:
    """The column as the export has it, or None where `available` lacks it. Raises WrongType."""
    name = prefix + column.name
    found = available.get(name)
    if found is not None:
        return _converted(found, column, name)
    if column.mode is Mode.REPEATED or not column.fields:
        return None
    members = _members(column, available, f"{name}.")
    if all(value is None for value in members.values()):
        return None
    flat = (found for path, found in available.items() if path.startswith(f"{name}."))
    some = [_is_given(found.value) for found in flat]
    return exp.Case(ifs=[exp.If(this=exp.or_(*some), true=_record(column, members))])


def _converted(found: Found, column: Column, name: str) -> exp.Expr:
    if _same(found.type, column):
        return found.value.copy()
    if column.mode is Mode.REPEATED:
        return _list(found, column, name)
    if column.type == "STRUCT":
        return _struct(found, column, name)
    return _SCALARS[column.type](found, column, name)


def _list(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.is_text:
        elements = exp.replace_placeholders(_ELEMENTS.copy(), json=_as_json(found.value, column))
        return _transformed(elements, TEXT, column, name)
    if found.type.id == "list":
        element = found.type.children["child"]
        return _transformed(found.value.copy(), element, column, name)
    raise _wrong(found, column, name)


def _transformed(values: exp.Expr, element: SqlType, column: Column, name: str) -> exp.Expr:
    one = _converted(
        Found(exp.column("e"), element), replace(column, mode=Mode.NULLABLE), f"{name}[]"
    )
    function = exp.Lambda(this=one, expressions=[exp.to_identifier("e")])
    return exp.Transform(this=values, expression=function)


def _struct(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.is_text:
        return _struct_of_json(_as_json(found.value, column), column, name)
    if found.type.id != "struct":
        raise _wrong(found, column, name)
    record = _record(column, _members(column, found.members(), ""))
    return exp.Case(ifs=[exp.If(this=_is_given(found.value), true=record)])


def _struct_of_json(text: exp.Expr, column: Column, name: str) -> exp.Expr:
    members = {
        field.name: Found(
            _call("JSON_EXTRACT_STRING", text, exp.Literal.string(f"$.{json.dumps(field.name)}")),
            TEXT,
        )
        for field in column.fields
    }
    record = _record(column, _members(column, members, ""))
    kind = _call("JSON_TYPE", text)
    return exp.Case(
        ifs=[
            *_without_required(text, members, name),
            exp.If(this=exp.EQ(this=kind, expression=exp.Literal.string("OBJECT")), true=record),
            exp.If(this=_is_given(text), true=_error(f"{name} is not a record: ", text)),
        ]
    )


def _without_required(text: exp.Expr, members: Mapping[str, Found], name: str) -> Iterator[exp.If]:
    """What a record in a list must say, be it null: an amount of another name would be lost."""
    list_ = name.removesuffix("[]")
    required = gcp_export().required if name != list_ else frozenset[str]()
    for member, found in members.items():
        if f"{list_}.{member}" not in required:
            continue
        path = exp.Literal.string(f"$.{json.dumps(member)}")
        is_null = exp.Is(this=found.value.copy(), expression=exp.null())
        is_absent = exp.and_(is_null, exp.not_(_call("JSON_EXISTS", text, path)))
        is_record = exp.EQ(this=_call("JSON_TYPE", text), expression=exp.Literal.string("OBJECT"))
        lacks = _error(f"{list_} has a record without {member}: ", text)
        yield exp.If(this=exp.and_(is_record, is_absent), true=lacks)


def _as_json(text: exp.Expr, column: Column) -> exp.Expr:
    """Text as valid JSON, or text that is neither JSON nor Python and fails where it is read.

    Amounts are texts in it, of all their digits.
    """
    literal = exp.replace_placeholders(_PYTHON_LITERAL.copy(), v=text)
    json_ = exp.replace_placeholders(_AS_JSON.copy(), v=text, literal=literal)
    amounts = "|".join(field.name for field in column.fields if field.type == "NUMERIC")
    if not amounts:
        return json_
    return exp.replace_placeholders(parse_one(_WITH_TEXTS % amounts, dialect="duckdb"), json=json_)


def _members(
    column: Column, available: Mapping[str, Found], prefix: str
) -> dict[str, exp.Expr | None]:
    return {field.name: pick(field, available, prefix) for field in column.fields}


def _record(column: Column, members: Mapping[str, exp.Expr | None]) -> exp.Expr:
    return exp.Struct(
        expressions=[
            exp.PropertyEQ(
                this=exp.to_identifier(field.name, quoted=True),
                expression=members[field.name] or absent(field),
            )
            for field in column.fields
        ]
    )


def absent(column: Column) -> exp.Expr:
    """NULL, of the column's type."""
    return exp.cast(exp.null(), duck_type(column), dialect="duckdb")


def _same(type_: SqlType, column: Column) -> bool:
    return type_.text.replace('"', "") == duck_type(column).replace('"', "")


def _string(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.is_text or found.type.id in _INTEGERS:
        return exp.cast(found.value.copy(), "VARCHAR", dialect="duckdb")
    raise _wrong(found, column, name)


def _timestamp(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.id in ZONELESS:
        plain = exp.cast(found.value.copy(), "TIMESTAMP", dialect="duckdb")
        return _call("TIMEZONE", exp.Literal.string("UTC"), plain)
    if found.type.is_text:
        return _read(found.value, "TIMESTAMPTZ", f"{name} is not a time: ")
    raise _wrong(found, column, name)


def _numeric(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.id in _FLOATS:
        return exact.from_double(exp.cast(found.value.copy(), "DOUBLE", dialect="duckdb"))
    if found.type.id == "decimal" or found.type.id in _INTEGERS:
        return exp.cast(found.value.copy(), exact.NUMERIC, dialect="duckdb")
    if found.type.is_text:
        return exact.from_text(found.value, name)
    raise _wrong(found, column, name)


def _float(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.id in _FLOATS | _INTEGERS | {"decimal"}:
        return exp.cast(found.value.copy(), "DOUBLE", dialect="duckdb")
    if found.type.is_text:
        return _read(found.value, "DOUBLE", f"{name} is not a number: ")
    raise _wrong(found, column, name)


def _bool(found: Found, column: Column, name: str) -> exp.Expr:
    if found.type.is_text:
        return _read(found.value, "BOOLEAN", f"{name} is neither true nor false: ")
    raise _wrong(found, column, name)


_SCALARS = {
    "STRING": _string,
    "TIMESTAMP": _timestamp,
    "NUMERIC": _numeric,
    "FLOAT64": _float,
    "BOOL": _bool,
}


def _read(text: exp.Expr, type_: str, wrong: str) -> exp.Expr:
    """Text as a value of the type; what stands for nothing is NULL, another text an error."""
    return exp.replace_placeholders(
        _READ.copy(),
        v=text,
        read=exp.TryCast(this=text.copy(), to=exp.DataType.build(type_, dialect="duckdb")),
        error=_error(wrong, text),
    )


def _wrong(found: Found, column: Column, name: str) -> WrongType:
    wanted = f"{column.mode} {column.type}" if column.mode is Mode.REPEATED else column.type
    return WrongType(f"its column {name} is {found.type.text}, which cannot be read as {wanted}")


def _is_given(value: exp.Expr) -> exp.Expr:
    return exp.Not(this=exp.Is(this=value.copy(), expression=exp.null()))


def _error(what: str, value: exp.Expr) -> exp.Expr:
    return _call("ERROR", exp.DPipe(this=exp.Literal.string(what), expression=value.copy()))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])
