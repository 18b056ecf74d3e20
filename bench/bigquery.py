"""The statements of tests/warehouse/statements.txt on an independent BigQuery: bqemulator.

It is no oracle (its NUMERIC has three places, and it runs on DuckDB as well), so what it answers
otherwise is looked at, and `KNOWN` holds what was judged to be its own fault. Makes an
environment of its own in a temporary folder; talks to 127.0.0.1 alone.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

PACKAGES = ("bqemulator==1.4.0", "numpy")
PORTS = ("19050", "19060")
PROJECT = "my-proj-1"
URL = f"http://127.0.0.1:{PORTS[0]}"
STATEMENTS = Path(__file__).parents[1] / "tests" / "warehouse" / "statements.txt"
READY_SECONDS = 60
LAUNCH = """
import sys
from bqemulator.storage.engine import DuckDBEngine
DuckDBEngine._load_spatial = lambda self: None
from bqemulator.cli import main
sys.argv = ["bqemulator", "start", *sys.argv[1:]]
sys.exit(main())
"""
"""Without GEOGRAPHY, whose extension it would fetch."""
TABLE = """CREATE TABLE acme.bill (
  id INT64, day DATE, service STRING, project STRING, cost NUMERIC, n INT64, ts TIMESTAMP,
  labels ARRAY<STRUCT<key STRING, value STRING>>, credits ARRAY<STRUCT<amount NUMERIC>>)"""
ROWS = """INSERT INTO acme.bill (id, day, service, project, cost, n, ts, labels, credits) VALUES
  (1, DATE '2024-01-31', 'compute', 'web', NUMERIC '1.5', 10, TIMESTAMP '2024-01-31 23:30:00+00',
   [STRUCT('app' AS key, 'shop' AS value), STRUCT('env' AS key, 'prod' AS value)],
   [STRUCT(NUMERIC '-0.5' AS amount)]),
  (2, DATE '2024-02-29', 'compute', 'api', NUMERIC '0.000173', 20,
   TIMESTAMP '2024-02-29 00:00:00+00', [STRUCT('app' AS key, 'mail' AS value)],
   [STRUCT(NUMERIC '-0.25' AS amount), STRUCT(NUMERIC '-0.125' AS amount)]),
  (3, DATE '2024-02-29', 'storage', 'web', NUMERIC '-2.25', NULL,
   TIMESTAMP '2024-02-29 12:00:00.25+00', [], []),
  (4, DATE '2024-12-31', 'storage', NULL, NUMERIC '10.000000001', 0, NULL, [], [])"""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUALIFIED = re.compile(r"\b(FROM|JOIN) bill\b( AS)?")
KNOWN = {
    "AS NUMERIC)": "its NUMERIC has three places",
    "cost": "the same",
    "AS INT64)": "it rounds a half to the even number, and takes the text of a fraction",
    "SUBSTR('apple'": "positions before the text",
    "LIKE r'": "it does not know the backslash of LIKE",
    "WEEK": "weeks begin on one day alone; ISOWEEK and WEEK(day) are not known",
    "TIMESTAMP_DIFF": "it counts boundaries, not units that passed",
    "ARRAY_LENGTH(labels)": "the array of the last row is empty there, and NULL here",
    "ARRAY_TO_STRING": "its SQL is not that of this DuckDB",
    "REGEXP_INSTR": "the same",
    "UNNEST(labels)": "fields of a struct without its name are not known",
    "(2, 'y')": "structs without names are not known",
    "TO_JSON_STRING": "NULL is the text null in BigQuery",
    "gcp_silver_cost": "the layer is ours",
    "my-proj-1.acme": "a dash needs backticks there",
    "UNPIVOT": "the columns stand the other way",
    "APPROX_QUANTILES": "estimates",
    "ARRAY_AGG(STRUCT": "a field of an element is not known",
    "12.5": "the text of a fraction is no INT64",
}
"""Parts of statements that the peer answers otherwise, and why that is its fault."""


def main() -> None:
    statements = read_statements()
    with tempfile.TemporaryDirectory() as folder:
        peer = start(Path(folder))
        try:
            ask("CREATE SCHEMA IF NOT EXISTS acme")
            ask(TABLE)
            ask(ROWS)
            compare(statements)
        finally:
            peer.terminate()
            peer.wait()


def read_statements() -> list[tuple[str, Any]]:
    """Those that have an answer; the others are about what is refused here."""
    lines = STATEMENTS.read_text("utf-8").splitlines()
    split = [line.split(" => ") for line in lines if line and not line.startswith("#")]
    answered = [(" => ".join(parts[:-1]), parts[-1]) for parts in split]
    return [(sql, json.loads(text)) for sql, text in answered if not text.startswith("error: ")]


def start(folder: Path) -> subprocess.Popen[bytes]:
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)  # noqa: S603 - our own
    python = str(folder / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)  # noqa: S603 - pip
    return launch(python)


def launch(python: str) -> subprocess.Popen[bytes]:
    options = ["--rest-port", PORTS[0], "--grpc-port", PORTS[1], "--project", PROJECT]
    command = [python, "-c", LAUNCH, *options, "--ephemeral", "--log-level", "error"]
    peer = subprocess.Popen(command)  # noqa: S603 - the peer
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{URL}/healthz", timeout=2):  # noqa: S310 - of this machine
                return peer
        except OSError:
            time.sleep(0.2)
    peer.kill()
    raise SystemExit("the emulator did not start")


def compare(statements: list[tuple[str, Any]]) -> None:
    agreed, known, differing = 0, 0, []
    for sql, expected in statements:
        wanted = expected if isinstance(expected, list) else [[expected]]
        found = answer(QUALIFIED.sub(_qualified, sql))
        if is_same(found, wanted):
            agreed += 1
        elif any(part in sql for part in KNOWN):
            known += 1
        else:
            differing.append((sql, wanted, found))
    for sql, wanted, found in differing:
        print(f"{sql}\n  ours {wanted}\n  peer {found}")
    print(f"{len(statements)} statements: {agreed} equal, {known} known, {len(differing)} differ")


def _qualified(found: re.Match[str]) -> str:
    """The peer knows no default dataset."""
    return f"{found[1]} acme.bill{found[2] or ' AS bill'}"


def answer(sql: str) -> object:
    """The rows, or why there are none."""
    try:
        return ask(sql)
    except (urllib.error.URLError, RuntimeError) as error:
        return f"refused: {error}"


def ask(sql: str) -> list[list[Any]]:
    body = json.dumps({"query": sql, "useLegacySql": False, "timeoutMs": 20_000}).encode()
    request = urllib.request.Request(  # noqa: S310 - of this machine
        f"{URL}/bigquery/v2/projects/{PROJECT}/queries",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answered:  # noqa: S310 - as above
        content = json.load(answered)
    if content.get("errors"):
        raise RuntimeError(content["errors"][0]["message"])
    fields = content.get("schema", {}).get("fields", [])
    rows = content.get("rows", [])
    return [[decode(c["v"], f) for c, f in zip(row["f"], fields, strict=True)] for row in rows]


def decode(value: Any, field: dict[str, Any]) -> Any:  # noqa: ANN401 - a cell of the wire
    if field.get("mode") == "REPEATED":
        return [decode(item["v"], {**field, "mode": "NULLABLE"}) for item in value or ()]
    if value is None:
        return None
    if field["type"] in {"RECORD", "STRUCT"}:
        members = zip(field["fields"], value["f"], strict=True)
        return {member["name"]: decode(cell["v"], member) for member, cell in members}
    if field["type"] == "TIMESTAMP" and value.lstrip("-").isdecimal():
        return str(EPOCH + timedelta(microseconds=int(value)))
    return value


def is_same(found: object, wanted: object) -> bool:
    """Everything is a text on the wire: compared as numbers and moments where both are."""
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(is_same, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(is_same(found[k], wanted[k]) for k in wanted)
    if found in (None, []) and wanted in (None, []):
        return True
    return plain(found) == plain(wanted)


def plain(value: object) -> object:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if moment := re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)(Z|\+00(:00)?)?", text
    ):
        return f"{moment[1]} {moment[2].rstrip('0') if '.' in moment[2] else moment[2]}"
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return round(number, 9) if number.is_finite() and abs(number) < 10**15 else number


if __name__ == "__main__":
    main()
