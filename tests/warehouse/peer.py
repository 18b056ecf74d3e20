"""An independent BigQuery to compare with: bqemulator, in an environment of its own.

It is no oracle (its NUMERIC has three places, and it runs on DuckDB as well), so what it answers
otherwise is looked at, and `KNOWN` holds what was judged to be its own fault. It is made in a
folder that is given, and listens on 127.0.0.1 alone.
"""

import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

PACKAGES = ("bqemulator==1.4.0", "numpy")
PROJECT = "my-proj-1"
INSTALL_SECONDS, READY_SECONDS = 600, 120
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
KNOWN = frozenset(
    line
    for line in (Path(__file__).parent / "peer_faults.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
)
"""Statements that the peer answers otherwise, which is its fault; the file says why."""
PLACES = Decimal("0.001")
"""How near numbers must be: its NUMERIC has three places."""


class PeerMissingError(Exception):
    """It could not be made or started on this machine; the message says why."""


class Emulator:
    """A running one, empty, at `url`. `stop` it."""

    def __init__(self, folder: Path, project: str) -> None:
        ports = (_free_port(), _free_port())
        self.url = f"http://127.0.0.1:{ports[0]}"
        self._http = httpx2.Client(base_url=self.url, timeout=60, trust_env=False)
        self._process = subprocess.Popen(_command(_python(folder), ports, project))
        self._wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._http.close()

    def _wait(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self._http.get("/healthz").raise_for_status()
            except httpx2.HTTPError:
                time.sleep(0.2)
            else:
                return
        self._process.kill()
        raise PeerMissingError(f"it does not answer within {READY_SECONDS} s")

    def _ask(self, sql: str) -> list[list[Any]]:
        asked = {"query": sql, "useLegacySql": False, "timeoutMs": 20_000}
        answered = self._http.post(f"/bigquery/v2/projects/{PROJECT}/queries", json=asked)
        content = answered.raise_for_status().json()
        if content.get("errors"):
            raise RuntimeError(content["errors"][0]["message"])
        fields = content.get("schema", {}).get("fields", [])
        rows = content.get("rows", [])
        return [[decode(c["v"], f) for c, f in zip(row["f"], fields, strict=True)] for row in rows]


class Peer(Emulator):
    """One with the table that the statements are about."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, PROJECT)
        for statement in ("CREATE SCHEMA IF NOT EXISTS acme", TABLE, ROWS):
            self._ask(statement)

    def answer(self, sql: str) -> object:
        """The rows, or why there are none."""
        try:
            return self._ask(QUALIFIED.sub(_qualified, sql))
        except (httpx2.HTTPError, RuntimeError) as error:
            return f"refused: {error}"


def _python(folder: Path) -> Path:
    """The interpreter of a new environment with the emulator. Raises PeerMissingError."""
    python = folder / "venv" / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES],
    ):
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip()
            raise PeerMissingError(said.splitlines()[-1] if said else str(error)) from error
    return python


def _command(python: Path, ports: tuple[int, int], project: str) -> list[str]:
    options = ["--rest-port", str(ports[0]), "--grpc-port", str(ports[1]), "--project", project]
    return [str(python), "-c", LAUNCH, *options, "--ephemeral", "--log-level", "error"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _qualified(found: re.Match[str]) -> str:
    """The peer knows no default dataset."""
    return f"{found[1]} acme.bill{found[2] or ' AS bill'}"


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
    left, right = plain(found), plain(wanted)
    has_places = isinstance(right, Decimal) and "." in format(right.normalize(), "f")
    if has_places and isinstance(left, Decimal) and isinstance(right, Decimal):
        return abs(left - right) <= PLACES
    return left == right


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
