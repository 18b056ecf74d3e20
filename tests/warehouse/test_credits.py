"""A credit must say its amount: one under another name would be lost silently."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convergence.errors import StepFailed
from tests.warehouse.test_export import flattened, write_csv

if TYPE_CHECKING:
    from tests.warehouse.conftest import Tenant

Rows = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


@pytest.mark.parametrize("name", ["day.csv", "day.jsonl"])
@pytest.mark.parametrize(
    ("text", "credits_"),
    [
        ('[{"name": "n", "Amount": -0.5}]', None),
        ('[{"amount": -1}, {"name": "n"}]', None),
        ("[{'name': 'n', 'credit_amount': -0.5}]", None),
        ('[{"name": "n", "amount": null}, {"amount": -1}]', "-1"),
        ("[{'name': 'n', 'amount': None}]", "0"),
    ],
)
def test_a_credit_without_an_amount_is_refused_and_a_null_one_is_nothing(
    tenant: "Tenant",
    exports: Path,
    make_row: Rows,
    name: str,
    text: str,
    credits_: str | None,
) -> None:
    row = flattened(make_row(), json.dumps) | {"credits": text}
    if name.endswith(".csv"):
        write_csv(exports / name, [row])
    else:
        (exports / name).write_text(json.dumps(row, default=str))
    if credits_ is None:
        with pytest.raises(
            StepFailed, match=rf"{name}: credits\.amount is not an amount \(.* in 1 row"
        ):
            tenant.load()
    else:
        tenant.load()
        assert tenant.rows("SELECT credits_total FROM billing_cost_daily") == [(Decimal(credits_),)]


def test_credits_of_records_that_have_no_amount_at_all_lack_a_column(
    tenant: "Tenant", make_row: Rows, write_parquet: Write
) -> None:
    path = write_parquet([make_row()])
    table = pq.ParquetFile(path).read()
    credit = pa.StructArray.from_arrays([pa.array(["P"]), pa.array([-0.5])], ["type", "Amount"])
    credits_ = pa.ListArray.from_arrays([0, 1], credit)
    table = table.set_column(table.column_names.index("credits"), "credits", credits_)
    pq.write_table(table, path)
    with pytest.raises(StepFailed, match=r"it lacks the column credits\.amount"):
        tenant.load()
