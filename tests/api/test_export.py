"""Costs as files over HTTP: whole, exact, or an error."""

import asyncio
import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from convergence.engine.execute import Executor
from convergence.engine.service import Service
from tests.api.conftest import RUN, Json, Keys
from tests.conftest import HEADER, export_line

PATH = "/api/v1/costs/export"
DAY = "2024-11-01"
COUNT = 2_500
"""More than a part of any answer holds."""
COST = Decimal("0.000000001")

Read = Callable[[bytes], list[dict[str, object]]]
READERS: dict[str, Read] = {
    "csv": lambda data: list(csv.DictReader(io.StringIO(data.decode()))),
    "json": json.loads,
    "jsonl": lambda data: [json.loads(line) for line in data.decode().splitlines()],
    "parquet": lambda data: pq.read_table(io.BytesIO(data)).to_pylist(),
}


@pytest.fixture
def loaded(acme: TestClient, service: Service, source: str, tmp_path: Path) -> TestClient:
    """One day of many rows."""
    (tmp_path / "export").mkdir()
    rows = [export_line(DAY, format(COST, "f"), "", "202411")] * COUNT
    (tmp_path / "export" / "a.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    run_id = acme.post(RUN, json={"date": DAY}).json()["pipeline_logging_id"]
    Executor(service=service, worker="test").walk("acme", run_id)
    return acme


def test_all_rows_are_in_every_format_exact(loaded: TestClient) -> None:
    for form, read in READERS.items():
        answer = loaded.get(PATH, params={"format": form})
        rows = read(answer.content)
        assert len(rows) == COUNT
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert sum(Decimal(str(row["cost"])) for row in rows) == COST * COUNT
        if form != "parquet":
            assert {row["usage_start_time"] for row in rows} == {f"{DAY}T00:00:00Z"}
            assert {row["cost"] for row in rows} == {"0.000000001"}


def test_a_file_of_groups_says_what_the_answer_says(loaded: TestClient) -> None:
    asked = {"group_by": "day,service,label.env"}
    (item,) = loaded.get("/api/v1/costs", params=asked).json()["items"]
    del item["is_complete"]
    (row,) = loaded.get(PATH, params=asked | {"format": "json"}).json()
    assert row == item
    (cells,) = READERS["csv"](loaded.get("/api/v1/costs", params=asked | {"format": "csv"}).content)
    assert cells == {name: "" if value is None else str(value) for name, value in row.items()}
    parquet = loaded.get("/api/v1/costs", params=asked | {"format": "parquet"})
    (typed,) = READERS["parquet"](parquet.content)
    assert typed["net"] == Decimal(item["net"])


def test_focus_has_its_57_columns_and_then_ours(loaded: TestClient) -> None:
    rows = READERS["csv"](loaded.get(PATH, params={"focus": True}).content)
    names = list(rows[0])
    assert len(rows) == COUNT
    assert [name.startswith("x_") for name in names] == [False] * 57 + [True] * (len(names) - 57)
    assert rows[0]["BillingPeriodStart"] == "2024-11-01T00:00:00Z"
    assert rows[0]["BillingPeriodEnd"] == "2024-12-01T00:00:00Z"
    assert rows[0]["BilledCost"] == "0.000000001"
    assert json.loads(str(rows[0]["Tags"])) == {}


def test_days_and_filters_choose_the_rows(loaded: TestClient) -> None:
    for asked, count in (
        ({"from": "2024-11-02"}, 0),
        ({"to": DAY}, COUNT),
        ({"to": "2024-10-31", "calendar": "usage_pacific"}, COUNT),
        ({"filter": "label.env="}, COUNT),
        ({"filter": "service=other"}, 0),
    ):
        for focus in (True, False):
            answer = loaded.get(PATH, params={**asked, "focus": focus, "format": "jsonl"})
            assert len(answer.content.splitlines()) == count


@pytest.mark.parametrize(
    "query",
    [
        "format=pdf",
        "focus=true&group_by=day",
        "filter=credit_type=X",
        "filter=x",
        "as_of=2024-11-01",
    ],
)
def test_a_wrong_wish_for_a_file_is_422(acme: TestClient, query: str) -> None:
    assert acme.get(f"{PATH}?{query}").status_code == 422
    asked = "/api/v1/costs?format=parquet&convert=USD"
    assert acme.get(asked).json()["code"] == "invalid_format"


def test_a_file_that_cannot_be_written_whole_is_an_error(
    loaded: TestClient, service: Service
) -> None:
    scratch = service.home.path / "warehouse" / ".scratch" / "acme"
    scratch.rmdir()
    answer = loaded.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "warehouse_error")


def test_nothing_is_left_of_a_file(loaded: TestClient, service: Service) -> None:
    loaded.get(PATH)
    assert list((service.home.path / "warehouse" / ".scratch" / "acme").iterdir()) == []


def test_a_file_of_another_tenant_is_not_found(loaded: TestClient, keys: Keys) -> None:
    assert loaded.get(f"{PATH}?tenant_id=acme", headers=keys.rival).status_code == 404
    own = loaded.get(f"{PATH}?format=json", headers=keys.rival)
    assert own.json() == []


def test_work_for_a_client_that_has_gone_is_broken_off(loaded: TestClient, keys: Keys) -> None:
    """Without that, the statement would run until its time is over: longer than a test may."""
    lists = ", ".join(f"UNNEST(GENERATE_ARRAY(1, 100000)) AS a{number}" for number in range(4))
    sql = f"SELECT COUNT(*) FROM {lists}"  # noqa: S608 - a constant
    coming: list[Json] = [{"type": "http.request", "body": json.dumps({"sql": sql}).encode()}]
    sent: list[Json] = []

    async def receive() -> Json:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def send(message: Json) -> None:
        sent.append(message)

    headers = {"content-type": "application/json", "host": "localhost", **keys.acme}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/query",
        "raw_path": b"/api/v1/query",
        "query_string": b"",
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("localhost", 80),
        "scheme": "http",
    }
    asyncio.run(loaded.app(scope, receive, send))  # type: ignore[arg-type]  # a scope by hand
    answer = b"".join(part.get("body", b"") for part in sent)
    assert json.loads(answer)["code"] == "client_gone"
