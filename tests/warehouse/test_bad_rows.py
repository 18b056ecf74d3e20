"""Whatever is wrong with a file, the load names file, column and rows; what was there stays."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from convergence.errors import Cancelled, StepFailed, Unavailable
from convergence.model.cancel import CancelToken
from convergence.warehouse.bad_rows import BadRows
from convergence.warehouse.files import lines, search
from convergence.warehouse.files.asking import answer
from convergence.warehouse.question import Result
from tests.exports import export_row, write_rows
from tests.warehouse.conftest import BILLING_SQL
from tests.warehouse.on_bigquery import Deliver, on_bigquery

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

Row = Mapping[str, Any]
LEAST = {
    "billing_account_id": "A",
    "usage_start_time": "2025-10-01T05:00:00",
    "usage_end_time": "2025-10-01T06:00:00",
    "export_time": "2025-10-02",
    "cost": "1.25",
    "currency": "EUR",
    "credits": "[]",
    "cost_type": "regular",
    "invoice.month": "202510",
    "usage.amount": "1",
}
"""A row with the columns that a bill needs, and one more."""
INF, NAN = float("inf"), float("nan")
FORMS = {"csv": (3, 5), "csv.gz": (3, 5), "ndjson": (2, 4), "json": (2, 4)}
"""The texts that a file can be, and at which lines or records the second and the fourth row are."""
TEXTS: dict[str, dict[str, str | None]] = {
    "cost is NULL": {"cost": None},
    "usage_start_time is NULL": {"usage_start_time": None},
    "cost is not an amount ('n/a')": {"cost": "n/a"},
    "cost is not an amount ('-inf')": {"cost": "-inf"},
    "cost is too large for NUMERIC ('1e31')": {"cost": "1e31"},
    "the sum of cost is more than NUMERIC holds": {"cost": "9" * 29},
    "usage_end_time is not a time ('yesterday')": {"usage_end_time": "yesterday"},
    "usage.amount is not a number ('some')": {"usage.amount": "some"},
    "credits is not a list of records ('none')": {"credits": "none"},
    'credits.amount is not an amount (\'[{"amount": "x"}]\')': {"credits": '[{"amount": "x"}]'},
}
TYPED: dict[str, dict[str, Any]] = {
    "billing_account_id is NULL": {"billing_account_id": None},
    "cost is NULL": {"cost": None},
    "usage_start_time is NULL": {"usage_start_time": None},
    "cost is not an amount ('nan')": {"cost": NAN},
    "cost is not an amount ('-inf')": {"cost": -INF},
    "cost is too large for NUMERIC ('1e+30')": {"cost": 1e30},
    "the sum of cost is more than NUMERIC holds": {"cost": 9e28},
    "the sum of credits is more than NUMERIC holds": {"credits": [{"amount": 9e28}] * 2},
    "credits.amount is not an amount": {"credits": [{"amount": INF}]},
}


def write_texts(path: Path, rows: Sequence[Row]) -> None:
    if path.suffix == ".ndjson":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue().encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def refused(tenant: "Tenant") -> StepFailed:
    """The error of a load that must fail, and leave the row that is there."""
    with pytest.raises(StepFailed) as caught:
        tenant.load(load_id="load-2")
    assert tenant.rows("SELECT COUNT(*) FROM billing_cost_daily") == [(1,)]
    return caught.value


@pytest.mark.parametrize(
    "form", ["csv", "ndjson", "json", pytest.param("csv.gz", marks=pytest.mark.slow)]
)
def test_texts_that_cannot_be_loaded_are_named_with_file_column_and_lines(
    tenant: "Tenant", exports: Path, form: str
) -> None:
    path = exports / f"day.{form}"
    write_texts(path, [LEAST])
    tenant.load()
    faults = TEXTS if form == "csv" else dict(list(TEXTS.items())[::9])
    for what, change in faults.items():
        write_texts(path, [LEAST, LEAST | change, LEAST, LEAST | change])
        error = refused(tenant)
        place = "records" if form == "json" else "lines"
        assert f"{path}: {what}" in error.detail
        assert f"in 2 rows: {place} {FORMS[form][0]}, {FORMS[form][1]}" in error.detail
        assert error.code == ("required_null" if "NULL" in what else "source_broken")
        assert error.hint


def test_values_in_parquet_that_cannot_be_loaded_are_named_with_their_rows(
    tenant: "Tenant", exports: Path
) -> None:
    path = write_rows(exports / "day.parquet", [export_row()])
    tenant.load()
    for what, change in TYPED.items():
        write_rows(path, [export_row(), export_row(**change)] * 2)
        error = refused(tenant)
        assert f"{path}: {what}" in error.detail
        assert "in 2 rows: file_row_number 1, 3" in error.detail


ROW = ",".join(LEAST.values())
HEADER = ",".join(LEAST)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [ROW, "", ROW.replace("EUR", '"E\nUR"'), f"{ROW},7"],
            "11 fields instead of 10 in 1 row: line 6",
        ),
        ([ROW, "A,B", ROW, "A"], "2 fields instead of 10 in 1 row: line 3; 1 field instead of 10"),
        ([ROW, ROW.replace("EUR", '"EUR'), ROW], "a quote that is never closed in 1 row: line 3"),
        (
            [ROW.replace("EUR", "E" * 200_000), ROW.replace("1.25", "n/a")],
            "cost is not an amount ('n/a') in 1 row: line 3",
        ),
        ([ROW.replace("EUR", "E" * 200_000), "A,B"], "2 fields instead of 10 in 1 row: line 3"),
        ([ROW, ROW.replace("EUR", "\udcff")], "characters that are not UTF-8 in 1 row: line 3"),
    ],
)
def test_lines_of_csv_that_are_no_rows_are_named(
    tenant: "Tenant", exports: Path, rows: list[str], said: str
) -> None:
    path = exports / "day.csv"
    write_texts(path, [LEAST])
    tenant.load()
    text = "\n".join([HEADER, *rows])
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert f"{path}: {said}" in refused(tenant).detail


GOOD = json.dumps(LEAST)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{GOOD}\n{GOOD[:-5]}\n\n{GOOD}\n7\n",
            "no whole JSON object in 1 row: line 2; no JSON object",
        ),
        (f"[{GOOD},\n{GOOD},\n 7]", "no JSON object in 1 row: record 3"),
        (f"[{GOOD},\n{GOOD[:-5]},\n{GOOD}]", "no JSON ("),
    ],
)
def test_what_is_no_record_of_json_is_named(
    tenant: "Tenant", exports: Path, text: str, said: str
) -> None:
    path = exports / "day.json"
    write_texts(path, [LEAST])
    tenant.load()
    path.write_text(text)
    assert f"{path}: {said}" in refused(tenant).detail


@pytest.mark.parametrize("adapter", ["duckdb", "bigquery_files"], indirect=True)
def test_a_load_that_is_cancelled_does_not_search_a_broken_file_to_its_end(
    tenant: "Tenant", exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (exports / "day.json").write_text(GOOD[:-5])
    token, search_lines = CancelToken(), lines.broken_json

    def late(path: str, cancel: CancelToken | None = None) -> list[BadRows]:
        token.trip(Cancelled("it was ended"))
        return search_lines(path, cancel)

    monkeypatch.setattr(lines, "broken_json", late)
    with pytest.raises(Cancelled, match="it was ended"):
        tenant.warehouse.stage(tenant.request(), token)


def test_many_bad_rows_are_counted_and_the_first_of_them_named(
    tenant: "Tenant", exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exports / "day.csv"
    write_texts(path, [LEAST])
    tenant.load()
    write_texts(path, [LEAST | {"cost": "x"}] * 9)
    assert "in 9 rows: lines 2, 3, 4, 5, 6 and 4 more" in refused(tenant).detail
    monkeypatch.setattr(search, "MOST", 7)
    assert "in at least 7 rows: lines 2, 3, 4, 5, 6 and 2 more" in refused(tenant).detail


def test_each_bad_file_is_named_and_rows_that_nobody_may_see_are_not(
    make_tenant: Callable[..., "Tenant"], exports: Path
) -> None:
    tenant = make_tenant(billing_account_ids=("A",))
    write_texts(exports / "a.csv", [LEAST])
    tenant.load()
    theirs = LEAST | {"billing_account_id": "B", "cost": "SECRET"}
    for name in ("b.csv", "c.csv"):
        write_texts(exports / name, [theirs, LEAST | {"cost": "x"}, theirs])
    detail = refused(tenant).detail
    assert "b.csv: cost is not an amount ('x') in 1 row: line 3; " in detail
    assert "c.csv: cost is not an amount ('x') in 1 row: line 3" in detail
    assert "SECRET" not in detail


def test_a_value_that_the_query_makes_null_is_not_blamed_on_a_file(
    tenant: "Tenant", exports: Path
) -> None:
    write_texts(exports / "day.csv", [LEAST])
    sql = BILLING_SQL.replace(" cost, currency", " NULL AS cost, currency")
    with pytest.raises(StepFailed, match="NULL in the required column cost") as caught:
        tenant.load(sql=sql)
    assert "the query" in caught.value.hint


@pytest.mark.parametrize("adapter", ["bigquery_files"], indirect=True)
def test_files_on_their_way_elsewhere_are_told_by_the_same_rules(
    tenant: "Tenant", exports: Path
) -> None:
    path = exports / "day.csv"
    write_texts(path, [LEAST])
    tenant.load()
    write_texts(path, [LEAST, LEAST | {"cost": None}] * 2)
    assert f"{path}: cost is NULL in 2 rows: lines 3, 5" in refused(tenant).detail


def test_a_question_about_a_file_that_has_just_gone_tells_no_folder_and_can_be_asked_again(
    tenant: "Tenant", exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(exports / "day.parquet", [export_row()])

    def late(*given: Any) -> Result:  # noqa: ANN401 - as `answer` has them
        path.unlink(missing_ok=True)
        return answer(*given)

    monkeypatch.setattr("convergence.warehouse.duckdb.warehouse.answer", late)
    (source,) = tenant.scope.sources
    with pytest.raises(Unavailable) as caught:
        tenant.query(f"SELECT COUNT(*) FROM `{source.table}`")  # noqa: S608 - a constant
    assert caught.value.detail == "changed while it was read: day.parquet (gone)"
    assert caught.value.code == "source_changed"


KEYS = "usage {}, exported 2025-10-02T03:04:05+00:00, service 6F81-5844-456A, project project-1"


@on_bigquery
def test_rows_of_a_table_are_named_by_what_finds_them(tenant: "Tenant", deliver: Deliver) -> None:
    warehouse, (source,) = tenant.warehouse, tenant.scope.sources
    deliver([export_row()])
    tenant.load()
    for what, change in (
        ("cost is NULL", {"cost": None}),
        ("credits.amount is no amount that NUMERIC holds", {"credits": [{"amount": 1e30}]}),
    ):
        deliver([export_row(), export_row(**change)])
        said = f"{what} in 1 row: {KEYS.format('2025-10-01T05:00:00+00:00')}"
        assert refused(tenant).detail.endswith(said)
    with pytest.raises(StepFailed, match=r"credits\.amount is no amount"):
        warehouse.survey("acme", source, warehouse.files_of(source), {}, CancelToken())


@pytest.mark.slow
@on_bigquery
def test_rows_of_a_table_that_are_in_no_day_are_named(tenant: "Tenant", deliver: Deliver) -> None:
    warehouse, (source,) = tenant.warehouse, tenant.scope.sources
    deliver([export_row()])
    tenant.load()
    unit = deliver([export_row(), export_row(usage_start_time=None)])
    said = f"usage_start_time is NULL in 1 row: {KEYS.format('NULL')}"
    assert refused(tenant).detail == f"{unit}: {said}"
    (found,) = warehouse.survey("acme", source, warehouse.files_of(source), {}, CancelToken())
    assert (found.path, found.fault) == (unit, said)
