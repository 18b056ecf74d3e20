"""What a statement may be made of: the one list of functions and of syntax that the gate lets by.

A function is on the list only when the DuckDB form was compared with BigQuery's meaning; where they
differ in what no rule mends, docs/reference/sql.md says so.
"""

import re
from collections.abc import Set
from difflib import get_close_matches

from sqlglot import exp

from convergence.warehouse.sql.statement import VARIABLE_MARK, refused, where


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = words(
    """ABS CEIL CEILING FLOOR ROUND TRUNC SIGN SQRT POW POWER EXP LN LOG LOG10 MOD DIV SAFE_DIVIDE
    GREATEST LEAST IS_NAN IS_INF BIT_COUNT RAND
    COALESCE IF IFNULL NULLIF ERROR GENERATE_UUID
    CONCAT LENGTH CHAR_LENGTH CHARACTER_LENGTH LOWER UPPER LTRIM RTRIM LPAD RPAD REPLACE REVERSE
    REPEAT SUBSTR SUBSTRING LEFT RIGHT STRPOS INSTR STARTS_WITH ENDS_WITH CONTAINS_SUBSTR SPLIT
    TRIM ASCII CHR UNICODE TO_HEX MD5 SHA1 SHA256 EDIT_DISTANCE
    REGEXP_CONTAINS REGEXP_EXTRACT REGEXP_EXTRACT_ALL REGEXP_REPLACE REGEXP_SUBSTR REGEXP_INSTR
    DATE DATE_ADD DATE_SUB DATE_DIFF DATE_TRUNC LAST_DAY WEEK DATE_FROM_UNIX_DATE UNIX_DATE
    FORMAT_DATE PARSE_DATE CURRENT_DATE
    TIMESTAMP TIMESTAMP_ADD TIMESTAMP_SUB TIMESTAMP_DIFF TIMESTAMP_TRUNC TIMESTAMP_SECONDS
    TIMESTAMP_MILLIS TIMESTAMP_MICROS UNIX_SECONDS UNIX_MILLIS UNIX_MICROS FORMAT_TIMESTAMP
    PARSE_TIMESTAMP CURRENT_TIMESTAMP
    DATETIME DATETIME_ADD DATETIME_SUB DATETIME_DIFF DATETIME_TRUNC FORMAT_DATETIME PARSE_DATETIME
    ARRAY_LENGTH ARRAY_TO_STRING ARRAY_CONCAT ARRAY_REVERSE GENERATE_ARRAY GENERATE_DATE_ARRAY
    JSON_VALUE JSON_QUERY JSON_EXTRACT JSON_EXTRACT_SCALAR JSON_EXTRACT_ARRAY JSON_VALUE_ARRAY
    PARSE_JSON TO_JSON TO_JSON_STRING
    COUNT SUM AVG MIN MAX COUNTIF ANY_VALUE ARRAY_AGG STRING_AGG LOGICAL_AND LOGICAL_OR BIT_AND
    BIT_OR BIT_XOR STDDEV STDDEV_POP STDDEV_SAMP VARIANCE VAR_POP VAR_SAMP CORR COVAR_POP COVAR_SAMP
    APPROX_COUNT_DISTINCT APPROX_QUANTILES MAX_BY MIN_BY
    ROW_NUMBER RANK DENSE_RANK PERCENT_RANK CUME_DIST NTILE LAG LEAD FIRST_VALUE LAST_VALUE
    NTH_VALUE PERCENTILE_CONT PERCENTILE_DISC
    STRUCT ARRAY"""
)

SYNTAX = words(
    """Select Union Intersect Except Subquery With CTE From Join Where Group Having Qualify Order
    Ordered Limit Offset Distinct Rollup Cube GroupingSets Window WindowSpec Windows Table
    TableAlias Alias Aliases Unnest Pivot PivotAlias PivotAny UnpivotColumns Tuple Paren Star
    Identifier Column Dot Bracket Literal RawString ByteString Null Boolean Var
    And Or Not EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ Is In Between Like Escape Exists
    LikeProperty All Any
    Add Sub Mul Div Mod IntDiv Neg DPipe BitwiseAnd BitwiseOr BitwiseXor BitwiseNot
    BitwiseLeftShift BitwiseRightShift
    Case If Cast TryCast DataType DataTypeParam ColumnDef Interval IntervalSpan AtTimeZone Extract
    WeekStart Trim Ceil Floor Chr GroupConcat ArgMax ArgMin ParseJSON Struct
    PropertyEQ Array IgnoreNulls RespectNulls HavingMax WithinGroup
    CurrentDate CurrentTimestamp Coalesce Concat Substring
    TsOrDsToDate TsOrDsToTimestamp TsOrDsToDatetime TimestampFromParts Lower JSONPath JSONPathRoot
    JSONPathKey JSONPathSubscript JSONPathWildcard"""
)
"""Classes of the syntax tree that carry no function's name of their own."""

TYPES = words(
    """TEXT VARCHAR BIGINT INT SMALLINT TINYINT DOUBLE BOOLEAN BINARY VARBINARY DECIMAL BIGDECIMAL
    DATE TIMESTAMP TIMESTAMPTZ JSON ARRAY STRUCT INTERVAL UNKNOWN"""
)
"""SQLGlot's names: its TIMESTAMP is BigQuery's DATETIME, its TIMESTAMPTZ our TIMESTAMP."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]*")
_HINTS = {
    "Version": "FOR SYSTEM_TIME AS OF reads history, which is not kept",
    "TableSample": "use WHERE and LIMIT",
    "Parameter": "write the value itself",
    "SessionParameter": "write the value itself",
    "Placeholder": "write the value itself",
    "SafeFunc": "leave SAFE. away: SAFE_CAST and SAFE_DIVIDE exist",
}


_WRITTEN = {
    "Version": "FOR SYSTEM_TIME AS OF",
    "SafeFunc": "SAFE.…",
    "NetFunc": "NET.…",
    "TableSample": "TABLESAMPLE",
    "Parameter": "a parameter",
    "SessionParameter": "a parameter",
    "Placeholder": "a parameter",
}
"""What people write, where SQLGlot has a name of its own for it."""


def check_allowed(tree: exp.Query, parameters: Set[str] = frozenset()) -> None:
    """Raise Invalid, with name and place, for the first thing that is not on the lists.

    `parameters` are the `@name`s that have a value.
    """
    for node in tree.walk():
        function = _function_name(node)
        if function:
            if function.upper() not in FUNCTIONS:
                raise refused(
                    f"the function {function[:60]} is not available here",
                    at=where(node),
                    hint=_meant(function),
                )
        elif isinstance(node, exp.Parameter) and node.name in parameters:
            continue
        elif type(node).__name__ not in SYNTAX:
            name = type(node).__name__
            raise refused(
                f"{_WRITTEN.get(name, node.key.upper())} is not available here",
                at=where(node),
                hint=_HINTS.get(name, "write the query without it"),
            )
        _check_word(node)


def _meant(function: str) -> str:
    close = get_close_matches(function.upper()[:60], FUNCTIONS, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else "write it with another function of BigQuery"


def _function_name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return node.name or "of that name"
    written = node.meta_get("bigquery_name")
    return str(written) if written else ""


def _check_word(node: exp.Expr) -> None:
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier | exp.Dot):
        raise refused(
            "a function stands where a table must",
            at=where(node),
            hint="FROM takes tables, queries and UNNEST",
        )
    if isinstance(node, exp.DataType) and node.this.name not in TYPES:
        raise refused(f"the type {node.sql()[:60]} is not available here", at=where(node))
    if isinstance(node, exp.Var) and not _WORD.fullmatch(node.name):
        raise refused(f"{node.name[:60]!r} stands where a word must", at=where(node))
    if isinstance(node, exp.Identifier) and ("{" in node.name or VARIABLE_MARK in node.name):
        name = node.name.strip(VARIABLE_MARK + "{}")
        raise refused(f"the variable {{{name}}} has no value", at=where(node))
