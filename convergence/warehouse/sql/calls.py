"""Functions of DuckDB on the tree of a statement."""

from sqlglot import exp


def call(function: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A function of DuckDB by its name, which SQLGlot shall not interpret."""
    return exp.Anonymous(this=function, expressions=list(arguments))


def text(written: str) -> exp.Literal:
    return exp.Literal.string(written)
