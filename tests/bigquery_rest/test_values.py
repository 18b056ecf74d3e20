"""Values on the wire, parameters, pages: each as it was."""

from datetime import UTC, date, datetime
from decimal import Decimal

from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, QueryJobConfig, ScalarQueryParameter

from tests.bigquery_rest.conftest import Ask
from tests.bigquery_rest.server import Running

EVERY_TYPE = """
  SELECT 1 AS i, 1.5 AS f, TRUE AS b, 'é"' AS s, NUMERIC '0.000173' AS n,
    BIGNUMERIC '0.000000000000000173' AS big, DATE '2024-11-01' AS d,
    TIMESTAMP '2024-11-01 23:30:00.123456-02:00' AS ts, DATETIME '2024-11-01 10:00:00' AS dt,
    CAST(NULL AS STRING) AS nothing, [1, 2] AS list, STRUCT(1 AS a, 'x' AS b) AS record,
    [STRUCT('k' AS key, NUMERIC '-1.1' AS amount)] AS records
"""
VALUES = (
    *(1, 1.5, True, 'é"', Decimal("0.000173"), Decimal("0.000000000000000173")),
    *(date(2024, 11, 1), datetime(2024, 11, 2, 1, 30, 0, 123456, UTC)),
    datetime(2024, 11, 1, 10, tzinfo=UTC).replace(tzinfo=None),
    *(None, [1, 2], {"a": 1, "b": "x"}, [{"key": "k", "amount": Decimal("-1.1")}]),
)


def test_every_type_arrives_as_a_job_and_at_once(client: bigquery.Client, ask: Ask) -> None:
    assert ask(EVERY_TYPE) == [VALUES]
    assert [tuple(row.values()) for row in client.query_and_wait(EVERY_TYPE)] == [VALUES]


def test_money_is_exact_to_nine_places(ask: Ask) -> None:
    sql = (
        "SELECT SUM(x), CAST(0.0000000015 AS NUMERIC)"
        " FROM UNNEST([NUMERIC '232435.614337', NUMERIC '0.000000001']) AS x"
    )
    assert ask(sql) == [(Decimal("232435.614337001"), Decimal("0.000000002"))]


def test_json_has_decimals_as_texts_without_zeros_at_their_end(ask: Ask) -> None:
    sql = "SELECT TO_JSON_STRING([STRUCT(x AS a, 0.5 AS f)]) FROM UNNEST([{}]) AS x"
    numbers = ("-98765432.1", "0.123456789", "2", "100")
    written = [text for (text,) in ask(sql.format(", ".join(f"NUMERIC '{n}'" for n in numbers)))]
    assert written == [
        f'[{{"a":{said},"f":0.5}}]' for said in ('"-98765432.1"', '"0.123456789"', 2, 100)
    ]


def test_parameters_are_typed(ask: Ask) -> None:
    given = [
        ScalarQueryParameter("day", "DATE", date(2024, 11, 1)),
        ScalarQueryParameter("at", "TIMESTAMP", datetime(2024, 11, 1, tzinfo=UTC)),
        ScalarQueryParameter("cost", "NUMERIC", Decimal("0.000000001")),
        ScalarQueryParameter("text", "STRING", 'it\'s \\ "a"'),
        ScalarQueryParameter("none", "INT64", None),
        ArrayQueryParameter("names", "STRING", ["a", "b"]),
        ArrayQueryParameter("no_names", "STRING", []),
    ]
    sql = (
        "SELECT @day, @at, @cost * 2, @text, @none, ARRAY_LENGTH(@names), 'b' IN UNNEST(@names),"
        " 'b' IN UNNEST(@no_names)"
    )
    assert ask(sql, query_parameters=given) == [
        (
            *(date(2024, 11, 1), datetime(2024, 11, 1, tzinfo=UTC), Decimal("0.000000002")),
            *('it\'s \\ "a"', None, 2, True, False),
        )
    ]


def test_results_and_tables_come_in_pages(
    bigquery_rest: Running, client: bigquery.Client, ask: Ask
) -> None:
    bigquery_rest.fake.page_rows = 2
    ask("CREATE TABLE numbers AS SELECT x FROM UNNEST(GENERATE_ARRAY(1, 5)) AS x")
    sql = "SELECT x FROM numbers ORDER BY x"
    assert ask(sql) == [(1,), (2,), (3,), (4,), (5,)]
    assert len(list(client.list_rows("bill.numbers"))) == 5
    job = client.query("SELECT x FROM bill.numbers ORDER BY x")
    assert [row.x for row in job.result(page_size=1, max_results=3)] == [1, 2, 3]
    rows = client.query_and_wait("SELECT x FROM bill.numbers", job_config=QueryJobConfig())
    assert rows.to_arrow(create_bqstorage_client=False).num_rows == 5
