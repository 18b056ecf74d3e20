"""Costs: exact sums by group and currency, against an oracle in Decimal."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from sqlglot import exp, parse_one

from convergence.errors import Invalid
from convergence.model.cost import CostQuery, Dimension, parse_group
from convergence.warehouse.question import Scope
from convergence.warehouse.schemas import load_schema
from convergence.warehouse.sql.cost_queries import SUMMARY_TABLE, credit_types, summary
from convergence.warehouse.sql.dialect import to_duckdb
from convergence.warehouse.sql.names import resolve
from convergence.warehouse.sql.statement import parse

SCOPE = Scope(project="p-1", tenant_id="acme", datasets=frozenset({"acme"}))
FIRST, LAST = date(2024, 11, 1), date(2024, 11, 30)
NAMES = str.split(
    "ingestion_date service_id service_description sku_id sku_description project_id project_name"
    " invoice_month cost_type location_region currency cost credits_total"
)

MORE = {"x_source": "VARCHAR", "x_run_id": "VARCHAR", "x_source_export_time": "TIMESTAMPTZ"}


def bill_row(number: int) -> tuple[Any, ...]:
    service, project = f"s{number % 3}", f"p{number % 4}" if number % 4 else None
    return (
        FIRST + timedelta(days=number % 40),
        *(service, f"Service {service}", f"k{number % 5}", f"Sku {number % 5}"),
        *(project, f"Project {project}" if project else None),
        *("202411" if number % 2 else "202412", ("regular", "tax")[number % 7 == 0]),
        *(None if number % 6 == 0 else "eu", ("EUR", "USD")[number % 2]),
        Decimal(number * number) / 1_000_000_000,
        None if number % 3 else Decimal(-number) / 1_000_000_000,
    )


ROWS = [bill_row(number) for number in range(400)]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"async_threads": 1}) as connection:
        types = ["DATE", *["VARCHAR"] * 10, "DECIMAL(38,9)", "DECIMAL(38,9)"]
        fields = ", ".join(f"{name} {type_}" for name, type_ in zip(NAMES, types, strict=True))
        connection.execute(f"CREATE TABLE billing_cost_daily ({fields})")
        marks = ", ".join("?" * len(NAMES))
        connection.executemany(f"INSERT INTO billing_cost_daily VALUES ({marks})", ROWS)  # noqa: S608 - marks
        for name, type_ in MORE.items():
            connection.execute(f"ALTER TABLE billing_cost_daily ADD COLUMN {name} {type_}")
        answer = parse_one(load_schema(SUMMARY_TABLE).query, dialect="bigquery").sql("duckdb")
        connection.execute(f"CREATE TABLE {SUMMARY_TABLE} AS {answer}")
        yield connection


def ask(
    engine: duckdb.DuckDBPyConnection, question: CostQuery, *, from_rows: bool = False
) -> list[dict[str, Any]]:
    query = summary(question, project="p-1", dataset="acme", from_rows=from_rows)
    sql = query.sql("bigquery")
    translated = to_duckdb(
        resolve(parse(sql), SCOPE),
        place=lambda ref: exp.table_(ref.table, quoted=True),
        columns=lambda _: (),
    )
    cursor = engine.execute(translated)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def oracle(*keys: str) -> dict[tuple[Any, ...], tuple[int, Decimal, Decimal]]:
    totals: dict[tuple[Any, ...], tuple[int, Decimal, Decimal]] = {}
    for row in (dict(zip(NAMES, row, strict=True)) for row in ROWS):
        if FIRST <= row["ingestion_date"] <= LAST:
            key = tuple(row[name] for name in (*keys, "currency"))
            rows, cost, credits_sum = totals.get(key, (0, Decimal(0), Decimal(0)))
            more = row["credits_total"] or Decimal(0)
            totals[key] = (rows + 1, cost + row["cost"], credits_sum + more)
    return totals


@pytest.mark.parametrize(
    ("group_by", "keys"),
    [
        ((), ()),
        ((Dimension.DAY,), ("ingestion_date",)),
        ((Dimension.SERVICE,), ("service_id",)),
        ((Dimension.SKU, Dimension.PROJECT), ("sku_id", "project_id")),
        ((Dimension.INVOICE_MONTH, Dimension.COST_TYPE), ("invoice_month", "cost_type")),
        ((Dimension.REGION, Dimension.DAY), ("location_region", "ingestion_date")),
    ],
)
def test_sums_are_exact_and_never_cross_currencies(
    group_by: tuple[Dimension, ...], keys: tuple[str, ...], engine: duckdb.DuckDBPyConnection
) -> None:
    question = CostQuery(date_from=FIRST, date_to=LAST, group_by=group_by)
    answer = ask(engine, question)
    assert answer == ask(engine, question, from_rows=True)
    shown = tuple("day" if key == "ingestion_date" else key for key in (*keys, "currency"))
    got = {
        tuple(row[key] for key in shown): (row["rows"], row["cost"], row["credits"])
        for row in answer
    }
    assert got == oracle(*keys)
    assert len(got) == len(answer)
    assert all(row["net"] == row["cost"] + row["credits"] for row in answer)


def test_groups_carry_their_names_and_the_dearest_comes_first(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    question = CostQuery(date_from=FIRST, date_to=LAST, group_by=(Dimension.SERVICE,))
    answer = ask(engine, question)
    assert [row["net"] for row in answer] == sorted((row["net"] for row in answer), reverse=True)
    assert {(row["service_id"], row["service_description"]) for row in answer} == {
        (f"s{number}", f"Service s{number}") for number in range(3)
    }


def test_days_come_in_order(engine: duckdb.DuckDBPyConnection) -> None:
    question = CostQuery(date_from=FIRST, date_to=LAST, group_by=(Dimension.DAY,))
    days = [row["day"] for row in ask(engine, question)]
    assert days == sorted(days)
    assert (days[0], days[-1]) == (FIRST, LAST)


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({Dimension.SERVICE: ("s1", "s2")}, lambda r: r["service_id"] in {"s1", "s2"}),
        ({Dimension.PROJECT: ("",)}, lambda r: r["project_id"] is None),
        ({Dimension.PROJECT: ("", "p1")}, lambda r: r["project_id"] in {None, "p1"}),
        ({Dimension.DAY: ("2024-11-05",)}, lambda r: r["ingestion_date"] == date(2024, 11, 5)),
        ({Dimension.COST_TYPE: ()}, lambda _: True),
        ({Dimension.SKU: ("' OR 1=1 --\\",)}, lambda _: False),
        (
            {Dimension.REGION: ("eu",), Dimension.COST_TYPE: ("tax",)},
            lambda r: r["location_region"] == "eu" and r["cost_type"] == "tax",
        ),
    ],
)
def test_filters_name_ids_and_the_empty_one_is_a_missing_one(
    filters: dict[Dimension, tuple[str, ...]],
    rows: Callable[[dict[str, Any]], bool],
    engine: duckdb.DuckDBPyConnection,
) -> None:
    bill = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    wanted = [r for r in bill if r["ingestion_date"] <= LAST and rows(r)]
    answer = ask(engine, CostQuery(date_from=FIRST, date_to=LAST, filters=filters))
    assert sum(row["rows"] for row in answer) == len(wanted)
    assert sum(row["cost"] for row in answer) == sum(r["cost"] for r in wanted)


def test_a_question_that_cannot_be_is_refused() -> None:
    with pytest.raises(Invalid, match="is after"):
        CostQuery(date_from=LAST, date_to=FIRST)
    for text in ("2024-13-01", "20241104", "2024-W45-1"):
        with pytest.raises(Invalid, match="not a day"):
            CostQuery(date_from=FIRST, date_to=LAST, filters={Dimension.DAY: (text,)})


def test_keys_that_differ_in_punctuation_alone_have_columns_of_their_own() -> None:
    marks = tuple(map(parse_group, ("label.a-b", "label.a_b", "label.a.b", "label.A.B")))
    query = CostQuery(date_from=FIRST, date_to=LAST, group_by=marks)
    names = ["label_a_b", "label_a_b_2", "label_a_b_3", "label_A_B_4"]
    assert summary(query).named_selects[:4] == names


def test_types_of_credits_that_differ_in_punctuation_alone_have_columns_of_their_own() -> None:
    query = CostQuery(date_from=FIRST, date_to=LAST)
    names = summary(query, credit_types=("A B", "A_B", "a-b", "other", None)).named_selects
    columns = ["credits_A_B", "credits_A_B_2", "credits_a_b_3"]
    assert names[3:-2] == [*columns, "credits_other", "credits_other_2"]


@pytest.fixture
def texts() -> Iterator[duckdb.DuckDBPyConnection]:
    """A bill with nothing but JSON: credits as each warehouse writes them, and labels."""
    with duckdb.connect(config={"async_threads": 1}) as connection:
        connection.execute(
            "CREATE TABLE billing_cost_daily AS SELECT DATE '2024-11-01' AS ingestion_date,"
            " 'EUR' AS currency, CAST(0 AS DECIMAL(38,9)) AS cost,"
            " CAST(0 AS DECIMAL(38,9)) AS credits_total, '' AS x_credits_json, '' AS labels_json"
            " LIMIT 0"
        )
        yield connection


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("-98765432.100000000", "-98765432.1"),  # DuckDB's NUMERIC
        ('"-98765432.1"', "-98765432.1"),  # BigQuery's
        ('"-12345678901234567890"', "-12345678901234567890"),
        ("-98765432.1", "-98765432.099999994"),  # a float, as it is
        ("-1.5e-09", "-0.000000001"),  # which is less than that half
        ("-8", "-8"),
    ],
)
def test_credits_keep_all_places_however_they_are_written(
    texts: duckdb.DuckDBPyConnection, written: str, amount: str
) -> None:
    credits_ = f'[{{"type":"PROMOTION","amount":{written},"name":"a, \\"amount\\":7"}}]'
    texts.execute(
        "INSERT INTO billing_cost_daily VALUES ('2024-11-01', 'EUR', 1, ?, ?, NULL)",
        (Decimal(amount), credits_),
    )
    question = CostQuery(date_from=FIRST, date_to=LAST, group_by=(Dimension.CREDIT_TYPE,))
    found = {item["credit_type"]: item["credits"] for item in ask(texts, question)}
    assert found == {None: 0, "PROMOTION": Decimal(amount)}


@pytest.mark.parametrize(
    ("values", "label"),
    [(("null", '"b"'), None), (('""', '"b"'), None), (('"a"', "null"), "a")],
)
def test_the_first_value_of_a_key_counts_also_where_it_is_none(
    texts: duckdb.DuckDBPyConnection, values: tuple[str, ...], label: str | None
) -> None:
    labels = ",".join(f'{{"key":"env","value":{value}}}' for value in values)
    texts.execute(
        "INSERT INTO billing_cost_daily VALUES ('2024-11-01', 'EUR', 1, 0, NULL, ?)",
        (f"[{labels}]",),
    )
    mark = parse_group("label.env")
    (item,) = ask(texts, CostQuery(date_from=FIRST, date_to=LAST, group_by=(mark,)))
    assert item["label_env"] == label


def test_a_credit_with_an_empty_type_has_none(texts: duckdb.DuckDBPyConnection) -> None:
    texts.execute(
        "INSERT INTO billing_cost_daily VALUES ('2024-11-01', 'EUR', 1, -3, ?, NULL)",
        ('[{"type":"","amount":-1},{"type":null,"amount":-1},{"amount":-1}]',),
    )
    question = CostQuery(date_from=FIRST, date_to=LAST, group_by=(Dimension.CREDIT_TYPE,))
    found = {item["credit_type"]: item["credits"] for item in ask(texts, question)}
    assert found == {None: 0, "CREDIT_TYPE_UNSPECIFIED": -3}


def test_rows_with_very_many_credits_take_no_more_memory_than_their_texts(
    texts: duckdb.DuckDBPyConnection,
) -> None:
    """A text beside each of its credits would be a gigabyte."""
    texts.execute("SET memory_limit = '100MB'")
    credit = '{"name":"Committed use discount","type":"COMMITTED_USAGE_DISCOUNT","amount":-0.5}'
    for number in range(3):
        odd = f'{{"name":"{number % 2}","type":"PROMOTION","amount":-1}}'
        texts.execute(
            "INSERT INTO billing_cost_daily VALUES ('2024-11-01', 'EUR', 1, -1001, ?, NULL)",
            (f"[{','.join([odd, *[credit] * 2_000])}]",),
        )
    question = CostQuery(date_from=FIRST, date_to=LAST, group_by=(Dimension.CREDIT_TYPE,))
    assert {
        item["credit_type"]: (item["rows"], item["credits"]) for item in ask(texts, question)
    } == {
        None: (3, 0),
        "PROMOTION": (3, -3),
        "COMMITTED_USAGE_DISCOUNT": (3, -3000),
    }


def test_no_worker_holds_all_sums_to_take_their_credits_apart() -> None:
    """As it does of a window that is not parted, on BigQuery."""
    query = CostQuery(date_from=FIRST, date_to=LAST, group_by=(Dimension.CREDIT_TYPE,))
    for made in (summary(query), credit_types(query)):
        windows = made.find_all(exp.Window)
        assert all(each.args.get("partition_by") for each in windows)
