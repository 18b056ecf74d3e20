"""The log: JSON lines in `$CDP_HOME/logs/cdp.log`, plain lines for a terminal.

The standard `logging` carries it, so that uvicorn, DBOS and SQLAlchemy end in the same lines, and
so that a command pays nothing for it at its start.
"""

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeGuard

from typing_extensions import override

from convergence.outside.logfile import LogFile
from convergence.outside.plain import escaped
from convergence.outside.redact import Redactor

MAX_FACT: Final = 4_000
"""Characters of a message or of one fact; the rest is cut."""
MAX_TRACE: Final = 40_000
"""Characters of a stack trace; the middle is cut, for both ends matter."""
MAX_FACTS: Final = 40
FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.access", "dbos")
"""Loggers that bring handlers of their own, unless they find one."""
QUIET = ("alembic", "convergence.store.gate.GatedPool")
"""Loggers that tell what is no event here."""

NOISY = ("dbos",)
"""Loggers that repeat themselves many times a second while a database is away."""
PAUSE = 10.0
"""Seconds before one of them may say the same again."""

_context: ContextVar[Mapping[str, object]] = ContextVar("log context", default=MappingProxyType({}))


@contextmanager
def bind(**context: object) -> Iterator[None]:
    """Put request_id, tenant_id, run_id … on every line inside; afterwards they are gone again."""
    token = _context.set({**_context.get(), **context})
    try:
        yield
    finally:
        _context.reset(token)


class Log:
    """Writes lines with facts: `log = Log(__name__)`, `log.info("run finished", rows=3)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, message: str, /, **facts: object) -> None:
        self._write(logging.DEBUG, message, facts)

    def info(self, message: str, /, **facts: object) -> None:
        self._write(logging.INFO, message, facts)

    def warning(self, message: str, /, **facts: object) -> None:
        self._write(logging.WARNING, message, facts)

    def error(self, message: str, /, **facts: object) -> None:
        self._write(logging.ERROR, message, facts)

    def at(self, level: str, message: str, /, **facts: object) -> None:
        """`level` as the log writes it: DEBUG, INFO, WARNING or ERROR."""
        self._write(logging.getLevelNamesMapping()[level], message, facts)

    def exception(self, message: str, /, **facts: object) -> None:
        """An error line with the stack trace of the exception that is being handled."""
        self._write(logging.ERROR, message, facts, trace=True)

    def _write(
        self, level: int, message: str, facts: Mapping[str, object], *, trace: bool = False
    ) -> None:
        self._logger.log(level, message, exc_info=trace, extra={"facts": facts})


class Logs:
    """The log of a process, from construction to `close`.

    A line that cannot be written (a full disk) is lost and counted in `lost`; nothing is raised.
    """

    def __init__(
        self, folder: Path, *, level: str, secrets: tuple[str, ...] = (), terminal: bool = False
    ) -> None:
        redact = Redactor(*secrets)
        self._file = LogFile(folder / "cdp.log")
        self._file.setFormatter(JsonLine(redact))
        self._handlers: list[logging.Handler] = [self._file]
        if terminal:
            screen = logging.StreamHandler(sys.stderr)
            screen.setFormatter(PlainLine(redact))
            self._handlers.append(screen)
        root = logging.getLogger()
        self._level_before = root.level
        root.setLevel(level)
        for handler in self._handlers:
            root.addHandler(handler)
        for name in FOREIGN:
            logging.getLogger(name).handlers[:] = [logging.NullHandler()]
            logging.getLogger(name).propagate = True
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
        for handler in self._handlers:
            handler.addFilter(Seldom())

    @property
    def lost(self) -> int:
        return self._file.lost

    def close(self) -> None:
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()
        logging.getLogger().setLevel(self._level_before)


class Seldom(logging.Filter):
    """Lets a noisy logger say the same thing, whatever its details, once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in NOISY:
            return True
        place = (record.pathname, record.lineno)
        is_new = record.created - self._said.get(place, -PAUSE) >= PAUSE
        if is_new:
            self._said[place] = record.created
        return is_new


class Line(logging.Formatter):
    """What the two forms of a line share: texts without secrets, then cut, in this order."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def message(self, record: logging.LogRecord) -> str:
        return self._text(record.getMessage())

    def facts(self, record: logging.LogRecord) -> dict[str, str | float | None]:
        """Numbers and None as they are, everything else as text; the context comes first."""
        facts = {**_context.get(), **getattr(record, "facts", {})}
        return {
            name: value if _is_scalar(value) else self._text(str(value))
            for name, value in list(facts.items())[:MAX_FACTS]
        }

    def trace(self, record: logging.LogRecord) -> str:
        """The stack trace, "" when there is none."""
        if not record.exc_info or record.exc_info[0] is None:
            return ""
        text = self._redact(self.formatException(record.exc_info))
        half = MAX_TRACE // 2
        return text if len(text) <= MAX_TRACE else f"{text[:half]}\n… cut …\n{text[-half:]}"

    def _text(self, text: str) -> str:
        text = self._redact(text)
        return text if len(text) <= MAX_FACT else f"{text[:MAX_FACT]}…"


class JsonLine(Line):
    """One line of ASCII JSON: line ends, controls and bidi marks of any text come out escaped."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        head = {
            "timestamp": _timestamp(record),
            "severity": record.levelname,
            "message": self.message(record),
            "logger": record.name,
        }
        line = {**head, **self.facts(record), **head}
        if trace := self.trace(record):
            line["exception"] = trace
        return json.dumps(line, separators=(",", ":"))


class PlainLine(Line):
    """For a person: time, severity, message, facts; a stack trace below."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f"  {name}={value}" for name, value in self.facts(record).items())
        head = f"{_timestamp(record)} {record.levelname:<8} {self.message(record)}{facts}"
        return "\n    ".join(map(escaped, [head, *self.trace(record).splitlines()]))


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_scalar(value: object) -> TypeGuard[float | None]:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))
