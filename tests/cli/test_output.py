from decimal import Decimal
from typing import Any

import pytest

from convergence.cli.output import Format, cell, show_record, show_rows

ROWS: list[dict[str, Any]] = [
    {"id": "a-very-long-id-that-is-never-cut-" * 5, "net": "-1.500000000", "tags": ["x", "y"]},
    {"id": "b", "net": "1000.000000000", "tags": [], "more": {"a": 1}},
]


def test_table_keeps_ids_whole_and_numbers_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_rows(ROWS, ("id", "net", "tags"), Format.TABLE)
    head, first, second = capsys.readouterr().out.splitlines()
    assert ROWS[0]["id"] in first
    assert head.split() == ["id", "net", "tags"]
    assert first.endswith("  -1.500000000  x, y")
    assert second.endswith(" 1000.000000000")


def test_csv_has_the_columns_and_exact_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, ("id", "net", "more"), Format.CSV)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id,net,more"
    assert lines[2] == 'b,1000.000000000,"{""a"": 1}"'


def test_empty_list_still_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], ("id", "net"), Format.TABLE)
    assert capsys.readouterr().out == "id  net\n"


def test_jsonl_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"a": 1}, {"a": "ä"}], ("a",), Format.JSONL)
    assert capsys.readouterr().out == '{"a": 1}\n{"a": "ä"}\n'


def test_record_as_csv_is_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    show_record({"a": 1, "is_active": True, "gone": None}, Format.CSV)
    assert capsys.readouterr().out == "a,is_active,gone\n1,true,\n"


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert cell("a\x1b[31mred\u202e\nnext") == "a\\x1b[31mred\\u202e\\nnext"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (False, "no"),
        (3, "3"),
        (["a", None], "a, "),
        ([{"a": 1}], '[{"a": 1}]'),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_cell_of_a_table(value: object, shown: str) -> None:
    assert cell(value) == shown
