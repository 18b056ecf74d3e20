"""The log: one JSON line for each event, whoever writes it and whatever is in it."""

import json
import logging
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from convergence.model.key import assemble
from convergence.outside.logfile import LogFile
from convergence.outside.logs import JsonLine, Log, Logs, PlainLine, bind
from convergence.outside.redact import Redactor

SECRET = 'pass"wörd\\of/ours'
log = Log("convergence.test")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    logs = Logs(tmp_path / "logs", level="INFO", secrets=(SECRET,))
    yield tmp_path / "logs"
    logs.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "cdp.log").read_text().splitlines()]


def test_a_line_has_time_severity_message_and_facts(folder: Path) -> None:
    log.info("run finished", rows=3, share=0.5, run_id="r1", nothing=None)
    (line,) = lines(folder)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "severity": "INFO",
        "message": "run finished",
        "logger": "convergence.test",
        "rows": 3,
        "share": 0.5,
        "run_id": "r1",
        "nothing": None,
    }


def test_context_is_on_lines_inside_alone(folder: Path) -> None:
    with bind(request_id="q1", tenant_id="acme"):
        with bind(step_id="s1"):
            log.info("in")
        log.info("between")
    log.info("out")
    inside, between, outside = lines(folder)
    assert (inside["request_id"], inside["tenant_id"], inside["step_id"]) == ("q1", "acme", "s1")
    assert "step_id" not in between
    assert "tenant_id" not in outside


def test_an_exception_comes_with_its_whole_stack(folder: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("nothing to share")

    try:
        broken()
    except ZeroDivisionError:
        log.exception("it broke")
    (line,) = lines(folder)
    assert line["severity"] == "ERROR"
    assert "in broken" in line["exception"]
    assert "ZeroDivisionError: nothing to share" in line["exception"]


@pytest.mark.parametrize("name", ["uvicorn.error", "dbos", "sqlalchemy.engine", "anything"])
def test_what_others_log_ends_in_the_same_file(folder: Path, name: str) -> None:
    with bind(run_id="r1"):
        logging.getLogger(name).warning("slow: %s", "7 s")
    (line,) = lines(folder)
    assert (line["message"], line["logger"], line["run_id"]) == ("slow: 7 s", name, "r1")


def test_a_noisy_logger_says_the_same_once_in_a_while(folder: Path) -> None:
    for number in range(5):
        logging.getLogger("dbos").warning("queue %s is away", number)
        logging.getLogger("mine").warning("look %s", number)
    told = [line["message"] for line in lines(folder)]
    assert told == ["queue 0 is away", *(f"look {number}" for number in range(5))]


def test_lines_below_the_level_are_not_kept(folder: Path) -> None:
    log.debug("too much")
    log.warning("enough")
    log.error("worse")
    assert [line["severity"] for line in lines(folder)] == ["WARNING", "ERROR"]


def login(text: str) -> None:
    raise ValueError(text)


def test_secrets_and_keys_are_taken_out_wherever_they_stand(folder: Path) -> None:
    key = assemble("production", id_bytes=bytes(9), secret_bytes=b"k" * 32)
    try:
        login(f"{SECRET!r} {key}")
    except ValueError:
        log.exception(SECRET, url=f"smtp://a:{SECRET}@h", key=key, of=[SECRET])
    text = (folder / "cdp.log").read_text()
    assert "of/ours" not in text
    assert key.split("_")[3] not in text
    assert key.split("_")[2] in text
    assert lines(folder)[0]["url"] == "smtp://a:[redacted]@h"


@pytest.mark.parametrize("nasty", ["a\nb", "a\r\nb", "\x1b[2J", "\u202eevil", "\u2028", "\x85"])
def test_nothing_can_forge_a_second_line(folder: Path, nasty: str) -> None:
    log.info(nasty, **{"severity": "FORGED", nasty: nasty})
    raw = (folder / "cdp.log").read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw.rstrip(b"\n"))
    (line,) = lines(folder)
    assert (line["message"], line["severity"]) == (nasty, "INFO")


def test_half_a_character_is_escaped_too() -> None:
    record = logging.makeLogRecord({"msg": "a\ud800", "levelname": "INFO"})
    line = JsonLine(Redactor()).format(record)
    assert r'"message":"a\ud800"' in line
    assert PlainLine(Redactor()).format(record).endswith(r"INFO     a\ud800")


def test_long_texts_are_cut(folder: Path) -> None:
    log.info("m" * 100_000, **{f"fact_{n}": "x" * 100_000 for n in range(200)})
    assert (folder / "cdp.log").stat().st_size < 200_000
    assert lines(folder)[0]["message"].endswith("m…")


def test_the_terminal_gets_readable_lines_without_controls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = Logs(tmp_path, level="INFO", secrets=(SECRET,), terminal=True)
    try:
        login("bad\x1b")
    except ValueError:
        log.exception("it\nbroke", run_id="r1", secret=SECRET)
    logs.close()
    head, *trace = capsys.readouterr().err.splitlines()
    assert head.endswith(r"ERROR    it\nbroke  run_id=r1  secret=[redacted]")
    assert trace[-1] == r"    ValueError: bad\x1b"


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "cdp.log").symlink_to("/dev/full")
    logs = Logs(tmp_path, level="INFO")
    log.info("lost")
    (tmp_path / "cdp.log").unlink()
    log.info("kept")
    logs.close()
    assert logs.lost == 1
    assert [line["message"] for line in lines(tmp_path)] == ["kept"]


def test_a_fact_that_cannot_be_written_loses_its_line_alone(folder: Path) -> None:
    class Broken:
        @override
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log.info("one", what=Broken())
    log.info("two")
    assert [line["message"] for line in lines(folder)] == ["two"]


def test_a_removed_file_is_made_again(folder: Path) -> None:
    log.info("one")
    (folder / "cdp.log").unlink()
    log.info("two")
    assert [line["message"] for line in lines(folder)] == ["two"]


def small(path: Path) -> logging.Logger:
    logger = logging.Logger("small")  # noqa: LOG001 - one of its own, that nobody else finds
    handler = LogFile(path, size=2_000, old_files=3)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger


def test_a_full_file_is_rotated_and_a_few_old_ones_are_kept(tmp_path: Path) -> None:
    logger = small(tmp_path / "cdp.log")
    for n in range(1000):
        logger.info("line %06d", n)
    logger.handlers[0].close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["cdp.log", "cdp.log.1", "cdp.log.2", "cdp.log.3"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert all(file.stat().st_size < 2_100 for file in files)
    assert files[0].read_text().splitlines()[-1] == "line 000999"


WRITE = """
import sys, pathlib
from convergence.outside.logs import Log, Logs
logs = Logs(pathlib.Path(sys.argv[1]), level="INFO")
logs._file.maxBytes, logs._file.backupCount = 50_000, 100
for n in range(300):
    Log("x").info("m" * 1000, n=n, pid=sys.argv[2])
logs.close()
"""


def test_processes_share_the_file_without_losing_or_mixing_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    started = [subprocess.Popen([*command, str(n)]) for n in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    files = list(tmp_path.glob("cdp.log*"))
    assert len(files) > 10
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(found) == 900
    assert len({(line["pid"], line["n"]) for line in found}) == 900


def test_migrations_are_no_events(folder: Path) -> None:
    logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
    assert not (folder / "cdp.log").exists()
