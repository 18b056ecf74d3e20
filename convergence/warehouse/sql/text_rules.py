"""What BigQuery means by functions of texts, where DuckDB's mean something near it."""

from sqlglot import exp

from convergence.warehouse.sql.calls import call, text
from convergence.warehouse.sql.statement import refused

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What TRIM takes away: all that Unicode calls white space."""


def trimmed(node: exp.Trim) -> exp.Expr:
    if node.args.get("expression") is None:
        node.set("expression", text(SPACES))
    return node


def truth(node: exp.Cast) -> exp.Expr:
    """Of texts, true and false alone are a BOOL; DuckDB takes t, 1 and yes as well."""
    word = exp.Lower(this=node.this.copy())
    case = exp.Case()
    for written in ("true", "false"):
        is_it = exp.EQ(this=word.copy(), expression=text(written))
        case = case.when(is_it, exp.true() if written == "true" else exp.false())
    if isinstance(node, exp.TryCast):
        return case
    said = call("CONCAT", text("Bad BOOL value: "), node.this.copy())
    is_null = exp.Is(this=node.this.copy(), expression=exp.null())
    return case.when(is_null, exp.null()).else_(call("ERROR", said))


def code_of(node: exp.Unicode) -> exp.Expr:
    """Of an empty text it is 0."""
    is_empty = exp.EQ(this=node.this.copy(), expression=text(""))
    return exp.Case().when(is_empty, exp.Literal.number(0)).else_(node)


def ascii_code(node: exp.Ascii) -> exp.Expr:
    code = call("ASCII", node.this)
    is_more = exp.GT(this=code, expression=exp.Literal.number(127))
    error = call("ERROR", text("ASCII takes a text that begins with an ASCII character"))
    is_empty = exp.EQ(this=node.this.copy(), expression=text(""))
    zero = exp.Literal.number(0)
    return exp.Case().when(is_empty, zero).when(is_more, error).else_(code.copy())


def found_at(node: exp.StrPosition) -> exp.Expr:
    position = node.args.get("position")
    if position is not None and not isinstance(position, exp.Literal):
        raise refused(
            "INSTR counts from a literal position here, from the beginning",
            at=node,
            hint="search in REVERSE(text) to find the last one",
        )
    return node


def shifted(node: exp.BitwiseRightShift) -> exp.Expr:
    raise refused(
        "x >> n is not available here", at=node, hint="write DIV(x, 2) for one place, and so on"
    )


def all_bits(node: exp.BitwiseCount) -> exp.Expr:
    node.set("this", exp.cast(node.this, exp.DType.BIGINT))
    return node
