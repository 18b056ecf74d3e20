"""Where a name is seen, and what it means there: refused with its place where BigQuery has none."""

import pytest

from tests.warehouse.test_dialect import refusal


@pytest.mark.parametrize(
    ("sql", "place", "hint"),
    [
        ("SELECT\n kost FROM t", "2:2", "did you mean cost?"),
        ("SELECT t.kost\nFROM t", "1:10", "did you mean cost?"),
        ("SELECT l.kay FROM t, t.labels AS l", "1:10", "did you mean key?"),
        ("WITH a AS (SELECT cost AS c FROM t)\nSELECT q FROM a", "2:8", ""),
        ("SELECT t.rowid FROM t", "1:10", ""),
        ("SELECT localtimestamp", "1:8", ""),
    ],
)
def test_a_column_that_is_nowhere_is_told_before_the_engine_finds_a_meaning(
    sql: str, place: str, hint: str
) -> None:
    error = refusal(sql)
    assert error.code == "sql_failed"
    assert error.detail.startswith(f"{place}: there is no column")
    assert error.hint == hint


@pytest.mark.parametrize(
    ("sql", "place", "said"),
    [
        ("SELECT n AS m\nFROM t WHERE m = 2", "2:14", "m is a name of this SELECT list"),
        ("SELECT n AS m, m + 1 FROM t", "1:16", "m is a name of this SELECT list"),
        ("SELECT n AS m FROM t JOIN t AS u ON m = u.n", "1:37", "m is a name of this SELECT list"),
        ("SELECT SUM(n) AS n FROM t HAVING SUM(n) > 1", "1:38", "cannot be aggregated again"),
        ("SELECT SUM(n) AS n FROM t ORDER BY ROUND(SUM(n))", "1:46", "cannot be aggregated again"),
        ("SELECT SUM(n) AS n FROM t GROUP BY n", "1:36", "cannot be grouped by"),
        ("SELECT n AS k, d AS k FROM t ORDER BY k", "1:39", "k stands twice"),
        ("SELECT d AS t, SUM(n) FROM t GROUP BY t.d", "1:41", "t is a table and a name"),
    ],
)
def test_a_name_of_the_select_list_is_refused_where_bigquery_does_not_see_it(
    sql: str, place: str, said: str
) -> None:
    error = refusal(sql)
    assert error.detail.startswith(f"{place}: ")
    assert said in error.detail
    assert error.hint
