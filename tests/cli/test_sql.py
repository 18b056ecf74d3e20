"""`cdp sql`: errors at their place, explanations, whole answers as files, and the dialogue."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import ROOT, Cdp

MANY = "SELECT x FROM UNNEST(GENERATE_ARRAY(1, 10000)) AS x, UNNEST([1, 2]) AS y ORDER BY x"


def test_an_error_shows_the_line_and_a_caret(acme: Cdp) -> None:
    refused = acme("sql", "-t", "acme", "SELECT\n  kost\nFROM billing_cost_daily")
    assert refused.code == 2
    lines = refused.err.splitlines()
    assert lines[0] == "error: 2:3: there is no column kost"
    assert lines[1:3] == ["    2 |   kost", "          ^^^^"]
    assert lines[3] == "try: did you mean cost?"


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT COUNTIFF(TRUE)", "did you mean COUNTIF?"),
        ("SELECT 1 FROM billing_cost_dail", "did you mean billing_cost_daily?"),
        ("UPDATE billing_cost_daily SET cost = 0", "cdp db migrate"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT 1 FROM read_csv('x')", "FROM takes tables"),
        ("SELECT 1 FROM rival.billing_cost_daily", "your own tables are"),
    ],
)
def test_what_cannot_be_asked_says_what_to_do(acme: Cdp, sql: str, hint: str) -> None:
    refused = acme("sql", "-t", "acme", sql)
    assert (refused.code, refused.out) == (2, "")
    assert hint in refused.err


def test_an_explanation_shows_what_runs_and_what_is_approximate(acme: Cdp) -> None:
    asked = "SELECT SUM(cost) / 3 FROM billing_cost_daily"
    explained = acme("sql", "-t", "acme", "--explain", asked)
    assert '"billing_cost_daily"' in explained.out
    assert "approximate: 1:8: a quotient" in explained.err
    assert acme("sql", "-t", "acme", "--explain", asked, "--json").json["columns"] == [
        {"name": "f0_", "type": "NUMERIC"}
    ]
    assert acme("sql", "-t", "acme", "--explain", "SELECT nope").code == 2


def test_csv_and_parquet_hold_the_whole_answer_in_order(
    acme: Cdp,
) -> None:
    table = acme("sql", "-t", "acme", MANY, "--json")
    assert len(table.json) == 10_000
    assert "cut off" in table.err
    whole = acme("sql", "-t", "acme", MANY, "-o", "csv").out.splitlines()
    assert (whole[0], len(whole), whole[-1]) == ("x", 20_001, "10000")


def test_parquet_goes_to_a_file(acme: Cdp, home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convergence", "sql", "-t", "acme", "-o", "parquet"]
    asked = "SELECT SUM(CAST('0.5' AS NUMERIC)) AS a, SUM(1) AS b, TIMESTAMP '2024-01-01' AS c"
    with (tmp_path / "answer.parquet").open("wb") as file:
        subprocess.run([*command, asked], check=True, stdout=file, cwd=ROOT, env=os.environ)
    table = pq.read_table(tmp_path / "answer.parquet")
    assert [str(field.type) for field in table.schema] == [
        "decimal128(38, 9)",
        "decimal128(38, 0)",
        "timestamp[us, tz=UTC]",
    ]
    assert list((home / "warehouse" / ".scratch" / "acme").iterdir()) == []


def test_values_in_csv_are_written_as_in_json(acme: Cdp) -> None:
    asked = (
        "SELECT TIMESTAMP '2024-01-01 10:00:00.25+00' AS a, [1, 2] AS b, STRUCT(1 AS x) AS c,"
        " NULL AS d, '' AS e, TRUE AS f, DATE '2024-02-29' AS g, NUMERIC '1.5' AS h"
    )
    line = acme("sql", "-t", "acme", asked, "-o", "csv").out.splitlines()[1]
    assert line == (
        '2024-01-01T10:00:00.250000Z,"[1,2]","{""x"":1}",,"",true,2024-02-29,1.500000000'
    )


def test_a_file_that_fails_writes_nothing(acme: Cdp) -> None:
    failed = acme("sql", "-t", "acme", "SELECT 1 / x FROM UNNEST([1, 0]) AS x", "-o", "csv")
    assert (failed.code, failed.out) == (2, "")
    assert "division by zero" in failed.err


def test_other_commands_have_no_parquet(acme: Cdp) -> None:
    refused = acme("tenants", "ls", "-o", "parquet")
    assert (refused.code, refused.out) == (2, "")


class Terminal:
    """`cdp sql` on a terminal of its own."""

    def __init__(self) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", "convergence", "sql", "-t", "acme"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env={**os.environ, "TERM": "dumb"},
            start_new_session=True,
        )
        os.close(theirs)

    def enter(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, pattern: str) -> str:
        """What comes, up to the pattern."""
        said, end = "", time.monotonic() + 50
        while not re.search(pattern, said):
            assert time.monotonic() < end, said
            if select.select([self._ours], [], [], 0.2)[0]:
                said += os.read(self._ours, 4096).decode()
        return said

    def close(self) -> int:
        self.enter("\x04")
        try:
            return self._process.wait(timeout=50)
        finally:
            self._process.kill()
            os.close(self._ours)


@pytest.fixture
def terminal(acme: Cdp) -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    assert terminal.close() == 0


@pytest.mark.timeout(180)
def test_a_dialogue_answers_completes_and_remembers(terminal: Terminal, home: Path) -> None:
    terminal.until("acme> ")
    terminal.enter("SELECT 40 + 2\n")
    terminal.until("   -> ")
    terminal.enter("AS answer;\n")
    assert "42" in terminal.until(r"42\D+acme> ")
    terminal.enter("SELECT nope;\n")
    terminal.until(r"(?s)there is no column nope.*acme> ")
    terminal.enter("\\o csv\n")
    terminal.until("acme> ")
    terminal.enter("SELECT COUNT(*) AS n FROM billing_cost_da\t;\n")
    terminal.until(r"(?s)billing_cost_daily.*n\s+0\s+acme> ")
    terminal.enter("\\d billing_cost_daily\n")
    terminal.until(r"(?s)invoice_month\s+STRING.*acme> ")
    terminal.enter("\\q\n")
    end = time.monotonic() + 50
    while not (home / "sql_history").exists() and time.monotonic() < end:
        time.sleep(0.1)
    kept = home / "sql_history"
    assert "billing_cost_daily" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
