"""Text of BigQuery SQL becomes one read-only statement on a syntax tree, or an error at a place."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from convergence.errors import Fault, Invalid

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it would warn of is refused here

VARIABLE_MARK = "\ue000"
"""Begins the identifier that stands for a bare `{name}`; fill.py puts a literal in its place."""

MISREAD = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What SQLGlot falls over when arguments are missing that it takes for granted."""

MAX_CHARACTERS = 200_000
MAX_NESTING = 60
MAX_OPERATORS = 400
"""In one expression, outside of its parentheses: the engine's tree of it grows by each."""

MAX_EXCERPT = 500
_PLACED = re.compile(r"(\d+):(\d+): (.+)", re.DOTALL)
_SELECT = "SELECT"
_QUERY_WORDS = frozenset({"SELECT", "WITH", "FROM", "("})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDLIKE = re.compile(r"\w+")
_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_OPERATORS = frozenset(
    {
        *(TokenType.PLUS, TokenType.DASH, TokenType.STAR, TokenType.SLASH, TokenType.DPIPE),
        *(TokenType.AMP, TokenType.PIPE, TokenType.CARET, TokenType.TILDE),
    }
)
_PARAMETERS = frozenset({TokenType.PARAMETER, TokenType.PLACEHOLDER, TokenType.SESSION_PARAMETER})
_NO_ESCAPE = re.compile(r"""(?<!\\)(?:\\\\)*(\\[^abfnrtv\\?"'`0-7xXuU\n])""")
_CONNECTIVES = frozenset({TokenType.AND, TokenType.OR})
_ENDS_OF_EXPRESSIONS = frozenset(
    {
        *(TokenType.COMMA, TokenType.SELECT, TokenType.FROM, TokenType.WHERE, TokenType.UNION),
        *(TokenType.ON, TokenType.WHEN, TokenType.THEN),
        *(TokenType.GROUP_BY, TokenType.HAVING, TokenType.QUALIFY, TokenType.ORDER_BY),
        *(TokenType.INTERSECT, TokenType.EXCEPT, TokenType.ELSE),
    }
)
_LIKE_OF_A_LOAD = (
    "`cdp run` replaces the rows of a day; `cdp db migrate` brings tables to their schema"
)
_LIKE_OF_A_WRITE = {
    "CREATE": "`cdp db migrate` creates the tables",
    "ALTER": "`cdp db migrate` adds the columns that a table lacks",
    "UPDATE": "`cdp db migrate` fills new columns; `cdp quota set` changes limits",
    "DROP": "`cdp db migrate` brings tables to their schema; `cdp db check` says where they differ",
    "INSERT": _LIKE_OF_A_LOAD,
    "DELETE": _LIKE_OF_A_LOAD,
    "MERGE": _LIKE_OF_A_LOAD,
    "TRUNCATE": _LIKE_OF_A_LOAD,
}


def parse(sql: str) -> exp.Query:
    """The one SELECT (WITH and set operations included) that `sql` is.

    A bare `{name}` is left as an identifier for `fill`. Raises Invalid, code sql_syntax where
    BigQuery would not read it, sql_refused where it is read but is not a single query.
    """
    tokens = _tokens(sql)
    _check_kind(tokens)
    _check_nesting(tokens)
    _check_operators(tokens)
    try:
        trees = BigQuery().parser().parse(_mark_variables(tokens), sql)
    except ParseError as error:
        raise _syntax(error) from None
    except MISREAD:
        raise refused(
            "a function has arguments that it cannot have",
            code="sql_syntax",
            hint="count the arguments of each function",
        ) from None
    except RecursionError:
        raise refused(
            "the statement is nested too deeply", hint="name the parts with WITH"
        ) from None
    tree = trees[0] if trees else None
    if not isinstance(tree, exp.Query):
        raise refused("only a query can be run here", hint="begin with SELECT or WITH")
    _check_tables_are_names(tree, sql)
    _place_parameters(tree, tokens)
    return tree


def condition(text: str) -> exp.Expr:
    """The one expression that `text` is, in parentheses, and nothing beside it. Raises Invalid."""
    return _condition(text).copy()


@lru_cache(maxsize=512)
def _condition(text: str) -> exp.Expr:
    tree = parse(f"{_SELECT} {text}")
    clauses = [name for name, value in tree.args.items() if value and name != "expressions"]
    if clauses or len(tree.selects) != 1 or isinstance(tree.selects[0], exp.Alias | exp.Star):
        raise refused(
            f"{text[:60]!r} is not a condition",
            code="sql_syntax",
            hint="write what is true of a row, such as cost > 0",
        )
    return exp.paren(tree.selects[0])


def where(node: exp.Expr) -> str:
    """`line:col` of the first place in the text that is known for `node`; empty if none is."""
    for part in node.find_all(exp.Expr):
        if (line := part.meta_get("line")) is not None:
            start = part.meta_get("col") - (part.meta_get("end") - part.meta_get("start"))
            return f"{line}:{max(start, 1)}"
    return ""


def refused(
    what: str, *, at: exp.Expr | str = "", code: str = "sql_refused", hint: str = ""
) -> Invalid:
    """The error to raise: `what`, with its place in the statement."""
    place = at if isinstance(at, str) else where(at)
    return Invalid(f"{place}: {what}" if place else what, code=code, hint=hint)


@contextmanager
def pointing(sql: str) -> Iterator[None]:
    """Give an error that has a place the line of the statement that it is about."""
    try:
        yield
    except Invalid as error:
        placed = _PLACED.fullmatch(error.detail)
        if placed and not error.faults:
            line, column = int(placed[1]), int(placed[2])
            written = sql.split("\n")[line - 1 : line]
            excerpt = written[0][:MAX_EXCERPT] if written else ""
            fault = Fault(message=placed[3], line=line, column=column, excerpt=excerpt)
            error.faults = (fault,)
        raise


def _tokens(sql: str) -> list[Token]:
    if len(sql) > MAX_CHARACTERS:
        raise refused(f"the statement is longer than {MAX_CHARACTERS} characters")
    sql = " " + sql[1:] if sql.startswith("\ufeff") else sql
    if "\0" in sql or VARIABLE_MARK in sql:
        raise refused("the statement holds a character that SQL does not have")
    try:
        tokens = BigQuery().tokenize(sql)
    except TokenError as error:
        raise _unclosed(sql, error) from None
    for token in tokens:
        _check_token(sql, token)
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise refused("the statement is empty", code="sql_syntax", hint="write a SELECT")
    return tokens


def _unclosed(sql: str, error: TokenError) -> Invalid:
    """What is not closed goes on to the end; it begins where the rest cannot be read either."""
    read = str(error).partition("'")[2].rpartition("'")[0]
    before = sql[: max(sql.find(read), 0) + len(read)]
    starts = [before.rfind(mark) for mark in ("'", '"', "`", "/*")]
    start = max(starts)
    line = before.count("\n", 0, max(start, 0)) + 1
    column = start - before.rfind("\n", 0, max(start, 0))
    return refused(
        "a quote, a backtick or a comment is not closed",
        at=f"{line}:{column}" if start >= 0 else "",
        code="sql_syntax",
        hint="it begins here",
    )


def _check_token(sql: str, token: Token) -> None:
    written = sql[token.start : token.end + 1]
    if token.token_type == TokenType.STRING and (found := _NO_ESCAPE.search(written)):
        raise refused(
            f"{found[1]} is no escape in a text",
            at=_token_place(token),
            code="sql_syntax",
            hint=r"write a backslash twice, \\, or the text as r'…'",
        )


def _place_parameters(tree: exp.Query, tokens: Sequence[Token]) -> None:
    """SQLGlot keeps the places of names alone."""
    places = [token for token in tokens if token.token_type in _PARAMETERS]
    kinds = (exp.Parameter, exp.SessionParameter, exp.Placeholder)
    for node, token in zip(tree.find_all(*kinds, bfs=False), places, strict=False):
        node.meta.update(line=token.line, col=token.col, start=token.start, end=token.end)


def _check_kind(tokens: Sequence[Token]) -> None:
    first = tokens[0]
    word = first.text.upper()
    if word not in _QUERY_WORDS:
        raise refused(
            f"{word[:40]} is refused: SQL here only reads",
            at=_token_place(first),
            hint=_LIKE_OF_A_WRITE.get(word, "begin with SELECT or WITH"),
        )
    for token, following in pairwise(tokens):
        if token.token_type == TokenType.SEMICOLON:
            raise refused(
                f"a second statement begins with {following.text[:40]}",
                at=_token_place(following),
                hint="send one statement at a time",
            )


def _check_nesting(tokens: Sequence[Token]) -> None:
    depth = 0
    for token in tokens:
        if token.token_type in _OPENING:
            depth += 1
        elif token.token_type in _CLOSING:
            depth -= 1
        if depth > MAX_NESTING:
            raise refused(
                f"more than {MAX_NESTING} levels of nesting",
                at=_token_place(token),
                hint="name the parts with WITH",
            )


def _check_operators(tokens: Sequence[Token]) -> None:
    """Before anything is built of them: a sum of thousands would cost seconds, to be refused; and
    the engine's time to plan conditions grows with their square, and heeds no limit.
    """
    counts = [(0, 0)]
    for token in tokens:
        kind = token.token_type
        operators, conditions = counts[-1]
        if kind in _OPENING:
            counts.append((0, 0))
        elif kind in _CLOSING and len(counts) > 1:
            counts.pop()
        elif kind in _ENDS_OF_EXPRESSIONS:
            counts[-1] = (0, 0)
        elif kind in _CONNECTIVES:
            counts[-1] = (0, conditions + 1)
        elif kind in _OPERATORS:
            counts[-1] = (operators + 1, conditions)
        _check_count(counts[-1], token)


def _check_count(count: tuple[int, int], token: Token) -> None:
    operators, conditions = count
    if max(operators, conditions) > MAX_OPERATORS:
        raise refused(
            f"more than {MAX_OPERATORS} {'operators' if operators else 'conditions'} "
            "in one expression",
            at=_token_place(token),
            hint="sum the elements of an array, or name the parts with WITH"
            if operators
            else "write x IN (…), or join a list: UNNEST([…])",
        )


def _mark_variables(tokens: list[Token]) -> list[Token]:
    """Each `{`, name, `}` as one identifier token, so that it parses wherever a name can be."""
    marked: list[Token] = []
    index = 0
    while index < len(tokens):
        if tokens[index].token_type != TokenType.L_BRACE:
            marked.append(tokens[index])
            index += 1
            continue
        marked.append(_variable(tokens, index))
        index += 3
    return marked


def _variable(tokens: list[Token], index: int) -> Token:
    opening, *rest = tokens[index : index + 3]
    if not _is_name_in_braces(opening, rest):
        raise refused(
            "a brace that is not a variable",
            at=_token_place(opening),
            code="sql_syntax",
            hint="a variable is {name}, without spaces or quotes",
        )
    closing = rest[1]
    before = tokens[index - 1] if index else None
    after = tokens[index + 3] if index + 3 < len(tokens) else None
    if _touches(before, opening) or _touches(closing, after):
        raise refused(
            f"{{{rest[0].text}}} is glued to a word",
            at=_token_place(opening),
            code="sql_syntax",
            hint="put the whole name in backticks: `{dataset}_copy`",
        )
    return Token(
        token_type=TokenType.IDENTIFIER,
        text=f"{VARIABLE_MARK}{rest[0].text}",
        line=opening.line,
        col=opening.col + closing.end - opening.start,
        start=opening.start,
        end=closing.end,
    )


def _is_name_in_braces(opening: Token, rest: Sequence[Token]) -> bool:
    if len(rest) < 2 or rest[1].token_type != TokenType.R_BRACE:
        return False
    name, closing = rest
    is_closed_up = opening.end + 1 == name.start and name.end + 1 == closing.start
    return is_closed_up and _NAME.fullmatch(name.text) is not None


def _touches(left: Token | None, right: Token | None) -> bool:
    if left is None or right is None or left.end + 1 != right.start:
        return False
    outer = right if left.token_type == TokenType.R_BRACE else left
    return _WORDLIKE.fullmatch(outer.text) is not None


def _check_tables_are_names(tree: exp.Query, sql: str) -> None:
    for table in tree.find_all(exp.Table):
        for part in table.parts:
            start = part.meta_get("start")
            if start is not None and sql[start] in "'\"":
                raise refused(
                    f"the text {part.name[:60]!r} stands where a table must",
                    at=part,
                    hint="name a table: `project.dataset.table`",
                )


def _token_place(token: Token) -> str:
    return f"{token.line}:{max(token.col - (token.end - token.start), 1)}"


def _syntax(error: ParseError) -> Invalid:
    first = error.errors[0] if error.errors else {}
    description = str(first.get("description") or error).split("<Token")[0].rstrip(" .")
    description = description.removesuffix(" but got")
    if description.startswith("Required keyword"):
        description = "something is missing"
    near = str(first.get("highlight") or "")[:60]
    return refused(
        f"{description} near {near!r}" if near else description,
        at=f"{first['line']}:{first['col']}" if first.get("line") else "",
        code="sql_syntax",
        hint="the statement must be BigQuery SQL",
    )
