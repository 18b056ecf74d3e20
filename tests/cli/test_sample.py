from pathlib import Path

from tests.cli.conftest import Cdp


def test_sample_lies_in_the_home_and_is_told_of(cdp: Cdp, home: Path) -> None:
    made = cdp("sample", "generate", "--days", "3", "-o", "json")
    assert made.code == 0, made.err
    assert [export["currency"] for export in made.json] == ["USD", "EUR"]
    assert len(list(home.glob("sample/usd/*.parquet"))) == 3
    assert cdp("sample", "info", "-o", "json").json == made.json


def test_sample_is_told_of_in_lines_for_a_person(cdp: Cdp, tmp_path: Path) -> None:
    shown = cdp("sample", "generate", str(tmp_path / "bills"), "--days", "2")
    assert shown.code == 0
    assert "currency  USD" in shown.out
    assert f"files     {tmp_path}/bills/usd/*.parquet" in shown.out
    assert "sample export: 4 of 4" in shown.err


def test_no_sample_is_said_with_how_to_make_one(cdp: Cdp) -> None:
    missing = cdp("sample", "info")
    assert missing.code == 4
    assert missing.err.splitlines()[-1] == "try: cdp sample generate"


def test_folder_of_another_sample_is_refused(cdp: Cdp) -> None:
    cdp("sample", "generate", "--days", "2")
    refused = cdp("sample", "generate", "--days", "2", "--seed", "5")
    assert refused.code == 1
    assert "holds another sample" in refused.err
    assert "try: choose another folder" in refused.err


def test_folder_that_cannot_be_written_is_said_so(cdp: Cdp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = cdp("sample", "generate", str(tmp_path / "file"), "--days", "1")
    assert refused.code == 6
    assert "cannot write" in refused.err
