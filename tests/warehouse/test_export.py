"""Exports of every form give the same rows; broken files are named, and fail only their days."""

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convergence.errors import Invalid, StepFailed, StepInterrupted
from convergence.model.money import MoneyKey, Total
from convergence.model.source import GrantedSource, Kind
from convergence.warehouse.base import Warehouse
from convergence.warehouse.folders import folder_of

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

Rows = Callable[..., dict[str, Any]]
Write = Callable[..., Path]
NEXT_DAY = date(2025, 10, 2)
FACTS = """
    SELECT service_id, project_id, usage_start_time, cost, credits_total, labels_json,
      x_project_labels_json, x_tags_json, invoice_month, x_credits_json, x_adjustment_json,
      usage_amount
    FROM billing_cost_daily
"""


def flattened(row: dict[str, Any], as_text: Callable[[Any], str]) -> dict[str, str]:
    """The row with dotted names, repeated records as text, times without a zone."""
    flat: dict[str, str] = {}
    for name, value in row.items():
        members = value.items() if isinstance(value, dict) else [("", value)]
        for member, part in members:
            if isinstance(part, datetime):
                text = part.strftime("%Y-%m-%dT%H:%M:%S")
            else:
                text = (
                    as_text(part) if isinstance(part, list) else "" if part is None else str(part)
                )
            flat[f"{name}.{member}" if member else name] = text
    return flat


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = [{name: value for name, value in row.items() if value is not None} for row in rows]
    path.write_text("\n".join(json.dumps(row, default=str) for row in given))


def write_form(form: str, folder: Path, row: dict[str, Any], write_parquet: Write) -> None:
    if form == "parquet":
        write_parquet([row])
    elif form == "json":
        write_json(folder / "day.json", [row])
    elif form == "ndjson, flattened":
        write_json(folder / "day.ndjson", [flattened(row, json.dumps)])
    elif form == "csv, json":
        write_csv(folder / "day.csv", [flattened(row, json.dumps)])
    elif form == "csv.gz, python":
        write_csv(folder / "day.csv.gz", [flattened(row, repr)])
    else:
        typed = {
            "usage_start_time": row["usage_start_time"].replace(tzinfo=None),
            "cost": row["cost"],
        }
        table = pa.Table.from_pylist([flattened(row, repr) | typed])
        pq.write_table(table, folder / "day.parquet")


@pytest.mark.parametrize(
    "form",
    ["parquet", "json", "ndjson, flattened", "csv, json", "csv.gz, python", "parquet, flattened"],
)
def test_every_form_gives_the_same_row(
    tenant: "Tenant", exports: Path, make_row: Rows, write_parquet: Write, form: str
) -> None:
    write_form(form, exports, make_row(), write_parquet)
    tenant.load()
    (row,) = tenant.rows(FACTS)
    assert row[:5] == (
        "6F81-5844-456A",
        "project-1",
        datetime(2025, 10, 1, 5, tzinfo=UTC),
        Decimal("1.25"),
        Decimal("-0.25"),
    )
    assert json.loads(row[5]) == [{"key": "env", "value": 'it\'s "prod"'}]
    assert json.loads(row[6]) == [{"key": "team", "value": "red"}]
    assert json.loads(row[7]) == [
        {"key": "1/env", "value": "prod", "inherited": True, "namespace": "1"}
    ]
    (credit,) = json.loads(row[9])
    assert (credit["name"], Decimal(str(credit["amount"]))) == ("Promo", Decimal("-0.25"))
    assert row[8] == "202510"
    assert json.loads(row[10] or "null") is None
    assert row[11] == 3600.0


def test_files_of_different_columns_are_one_export(
    tenant: "Tenant", exports: Path, make_row: Rows, write_parquet: Write
) -> None:
    write_parquet([make_row()], "new.parquet")
    write_parquet([make_row()], "old.parquet", without=("price", "consumption_model", "tags"))
    write_csv(exports / "text.csv", [flattened(make_row(resource=None), json.dumps)])
    totals = tenant.load()
    assert totals.loaded == totals.source
    assert totals.rows == 3


def test_amounts_as_text_with_exponents_are_read(
    tenant: "Tenant", exports: Path, make_row: Rows
) -> None:
    row = flattened(make_row(credits=[]), json.dumps) | {"cost": "5e-06", "cost_at_list": "NULL"}
    write_csv(exports / "day.csv", [row])
    tenant.load()
    assert tenant.rows("SELECT cost, cost_at_list FROM billing_cost_daily") == [
        (Decimal("0.000005"), None)
    ]


@pytest.mark.parametrize("column", ["cost", "credits"])
def test_decimals_that_no_numeric_can_hold_are_refused(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, column: str
) -> None:
    path = write_parquet([make_row()])
    table = pq.ParquetFile(path).read()
    wide = pa.array([Decimal("12345678901234.123456789")], pa.decimal256(50, 9))
    if column == "credits":
        credit = pa.StructArray.from_arrays([pa.array(["P"]), wide], ["type", "amount"])
        wide = pa.ListArray.from_arrays([0, 1], credit)
    table = table.set_column(table.column_names.index(column), column, wide)
    pq.write_table(table, path)
    with pytest.raises(StepFailed, match=r"DECIMAL\(50,9\), which cannot be read as NUMERIC"):
        tenant.load()


@pytest.mark.parametrize("written", ['[{"type": "P", "amount": -%s}]', "[{'amount': -%s}]"])
def test_amounts_in_texts_keep_all_their_digits(
    tenant: "Tenant", exports: Path, make_row: Rows, written: str
) -> None:
    amount = "98765432109876543210.123456789"
    row = flattened(make_row(), json.dumps) | {"cost": amount, "credits": written % amount}
    write_csv(exports / "day.csv", [row])
    tenant.load()
    (found,) = tenant.rows("SELECT cost, credits_total FROM billing_cost_daily")
    assert found == (Decimal(amount), Decimal(f"-{amount}"))


@pytest.mark.parametrize("column", ["cost", "currency", "credits", "usage_start_time", "invoice"])
def test_a_file_that_lacks_a_column_is_named_with_it(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, column: str
) -> None:
    path = write_parquet([make_row()], without=(column,))
    with pytest.raises(StepFailed, match=f"it lacks the column {column}") as caught:
        tenant.load()
    assert str(path) in caught.value.detail
    assert caught.value.code == "source_broken"
    assert caught.value.hint


@pytest.mark.parametrize("adapter", ["duckdb"], indirect=True)
def test_a_csv_of_another_build_is_told_by_what_is_wrong(
    tenant: "Tenant", exports: Path, make_row: Rows
) -> None:
    path = exports / "day.csv"
    write_csv(path, [flattened(make_row(), json.dumps)])
    header, rest = path.read_text().split("\n", 1)
    for content, said in (
        (f"{header}\n{rest}".encode("utf-16"), "it is not in UTF-8"),
        (f"{header.replace(',', ';')}\n{rest}".encode(), "not parted by commas"),
        (f"{header.upper()}\n{rest}".encode(), "names are in small letters"),
    ):
        path.write_bytes(content)
        with pytest.raises(StepFailed, match=said):
            tenant.load()


def test_a_file_of_a_wrong_type_is_named_with_the_column(
    tenant: "Tenant", exports: Path, make_row: Rows
) -> None:
    row = make_row() | {"usage_start_time": 1730419200}
    pq.write_table(pa.Table.from_pylist([row]), exports / "day.parquet")
    with pytest.raises(StepFailed, match="usage_start_time is BIGINT"):
        tenant.load()


@pytest.mark.parametrize("content", [b"", b"PAR1 this is not Parquet"])
@pytest.mark.parametrize("name", ["bad.parquet", "bad.csv.gz", "bad.json"])
def test_an_empty_or_foreign_file_fails_every_day_and_is_named(
    tenant: "Tenant", exports: Path, make_row: Rows, write_parquet: Write, name: str, content: bytes
) -> None:
    write_parquet([make_row()])
    (exports / name).write_bytes(content)
    for day in (date(2025, 10, 1), NEXT_DAY):
        with pytest.raises(StepFailed, match=name):
            tenant.load(day)


def test_a_file_cut_in_the_middle_is_named(
    tenant: "Tenant", exports: Path, make_row: Rows, write_parquet: Write
) -> None:
    rows = [flattened(make_row(cost=float(number)), json.dumps) for number in range(5000)]
    write_csv(exports / "day.csv.gz", rows)
    whole = (exports / "day.csv.gz").read_bytes()
    (exports / "day.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StepFailed, match=r"day\.csv\.gz"):
        tenant.load()


def test_a_bad_amount_is_named_with_its_file(
    tenant: "Tenant", exports: Path, make_row: Rows
) -> None:
    write_csv(exports / "good.csv", [flattened(make_row(), json.dumps)])
    write_csv(exports / "bad.csv", [flattened(make_row(), json.dumps) | {"cost": "1,25"}])
    with pytest.raises(StepFailed, match=r"bad\.csv: .*not an amount \('1,25'\) in 1 row: line 2"):
        tenant.load()


@pytest.mark.parametrize("text", ['{"amount": -1}', "[-1]", "[{'amount': -1", '"x"'])
def test_credits_that_are_no_list_of_records_are_refused(
    tenant: "Tenant", exports: Path, make_row: Rows, text: str
) -> None:
    write_csv(exports / "day.csv", [flattened(make_row(), json.dumps) | {"credits": text}])
    with pytest.raises(StepFailed, match=r"day\.csv"):
        tenant.load()


def test_a_file_with_damaged_pages_fails_only_the_days_its_statistics_name(
    tenant: "Tenant", exports: Path, make_row: Rows, write_parquet: Write
) -> None:
    later = datetime(2025, 10, 2, 5, tzinfo=UTC)
    write_parquet([make_row(usage_start_time=later)], "good.parquet")
    bad = write_parquet([make_row()], "bad.parquet", compression="none")
    content = bytearray(bad.read_bytes())
    content[4:400] = b"\xff" * 396
    bad.write_bytes(content)
    assert tenant.load(NEXT_DAY).rows == 1
    with pytest.raises(StepFailed, match=r"bad\.parquet"):
        tenant.load(date(2025, 10, 1))


def test_rows_without_a_usage_time_are_not_lost_silently(
    tenant: "Tenant", make_row: Rows, write_parquet: Write
) -> None:
    write_parquet([make_row(), make_row(usage_start_time=None)])
    with pytest.raises(
        StepFailed, match=r"day\.parquet: usage_start_time is NULL in 1 row: file_row_number 1"
    ):
        tenant.load()


def test_a_grant_narrows_the_load_and_its_reconciliation(
    make_tenant: Callable[..., "Tenant"], make_row: Rows, write_parquet: Write
) -> None:
    project = make_row()["project"]
    tenant = make_tenant(project_ids=("project-1",), billing_account_ids=("A",))
    write_parquet(
        [
            make_row(billing_account_id="A"),
            make_row(billing_account_id="A", project=project | {"id": "project-2"}),
            make_row(billing_account_id="A", project=None),
            make_row(billing_account_id="B"),
        ]
    )
    totals = tenant.load()
    one = {MoneyKey("202510", "regular", "EUR"): Total(1, Decimal("1.25"), Decimal("-0.25"))}
    assert totals.loaded == totals.source == one
    assert [file.rows for file in totals.state.files] == [1]


def test_rows_outside_the_grant_are_not_even_understood(
    make_tenant: Callable[..., "Tenant"], exports: Path
) -> None:
    tenant = make_tenant(pattern=str(exports / "*.csv"), project_ids=("mine",))
    (exports / "shared.csv").write_text(
        "billing_account_id,project.id,usage_start_time,usage_end_time,export_time,cost,currency,"
        "credits,cost_type,invoice.month\n"
        "A,mine,2025-10-01T05:00:00,2025-10-01T06:00:00,2025-10-02,1.25,EUR,[],regular,202510\n"
        "A,theirs,2025-10-01 SECRET,2025-10-01T06:00:00,2025-10-02,x,EUR,[],regular,202510\n"
    )
    assert tenant.load().rows == 1


@pytest.mark.parametrize("adapter", ["duckdb"], indirect=True)
def test_a_file_rewritten_to_the_same_size_and_time_is_looked_at_anew(
    tenant: "Tenant", make_row: Rows, write_parquet: Write
) -> None:
    sizes = set()
    for day in (date(2025, 10, 1), NEXT_DAY):
        row = make_row(usage_start_time=datetime(2025, 10, day.day, 5, tzinfo=UTC))
        path = write_parquet([row], compression="none")
        os.utime(path, (1_600_000_000, 1_600_000_000))
        sizes.add(path.stat().st_size)
        assert tenant.load(day, load_id=f"load-{day}").rows == 1
    assert len(sizes) == 1


@pytest.mark.parametrize("adapter", ["duckdb"], indirect=True)
def test_a_file_that_changes_while_it_is_read_can_be_tried_again(
    tenant: "Tenant", make_row: Rows, write_parquet: Write
) -> None:
    write_parquet([make_row()])
    staged = tenant.stage()
    write_parquet([make_row(), make_row()])
    with pytest.raises(StepInterrupted, match=r"changed while it was read: .*day\.parquet \("):
        tenant.totals(staged)


@pytest.mark.parametrize(
    "name", ["it's.parquet", "a[1].parquet", "q?*.parquet", "$(x);--.parquet", "ü \n.parquet"]
)
def test_hostile_file_names_are_only_names(
    tenant: "Tenant", make_row: Rows, write_parquet: Write, name: str
) -> None:
    path = write_parquet([make_row()], name)
    totals = tenant.load()
    assert [file.path for file in totals.state.files] == [str(path)]
    assert totals.rows == 1


def test_a_link_out_of_the_folder_is_not_followed(
    tenant: "Tenant", exports: Path, tmp_path: Path, make_row: Rows, write_parquet: Write
) -> None:
    path = write_parquet([make_row()])
    path.rename(tmp_path / "elsewhere.parquet")
    (exports / "link.parquet").symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(StepFailed, match=r"link\.parquet: it is a link to a file outside"):
        tenant.load()


@pytest.mark.parametrize(
    ("without", "kind"), [((), Kind.GCP_DETAILED), (("resource",), Kind.GCP_STANDARD)]
)
def test_the_kind_is_told_by_the_columns(
    warehouse: Warehouse,
    exports: Path,
    make_row: Rows,
    write_parquet: Write,
    without: tuple[str, ...],
    kind: Kind,
) -> None:
    write_parquet([make_row()], without=without)
    source = GrantedSource(table="p.d.any", files=f"{exports}/*.parquet", kind=Kind.AUTO)
    assert warehouse.source_kind(source).kind is kind


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("p.d.gcp_billing_export_resource_v1_X", Kind.GCP_DETAILED),
        ("p.d.gcp_billing_export_v1_X", Kind.GCP_STANDARD),
        ("p.d.gcp_billing_export_focus_X", Kind.FOCUS),
    ],
)
def test_the_kind_is_told_by_the_name_while_there_is_no_file(
    warehouse: Warehouse, tmp_path: Path, table: str, kind: Kind
) -> None:
    source = GrantedSource(table=table, files=f"{tmp_path}/none/*.csv", kind=Kind.AUTO)
    assert warehouse.source_kind(source).kind is kind


def test_a_focus_file_is_told_and_not_read_as_a_gcp_export(
    tenant: "Tenant", exports: Path, warehouse: Warehouse
) -> None:
    write_csv(exports / "focus.csv", [{"BilledCost": "1", "ChargePeriodStart": "2025-10-01"}])
    assert warehouse.source_kind(tenant.scope.sources[0]).kind is Kind.FOCUS
    with pytest.raises((Invalid, StepFailed), match="focus export"):
        tenant.load()


def test_the_folder_of_a_glob_ends_before_its_first_wildcard(tmp_path: Path) -> None:
    assert folder_of(f"{tmp_path}/a/2025-*/x.csv") == tmp_path / "a"
    assert folder_of(f"{tmp_path}/a/x.csv") == tmp_path / "a"
