"""Tell what a step does, line by line: in the run's log, which its tenant reads, and the service's.

For `attempt.py`, which gives it to the step as `context.log`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from convergence.engine.service import Service
from convergence.errors import Conflict, Unavailable
from convergence.model.event import Event, EventKind, Level
from convergence.model.run import Run
from convergence.model.source import GrantedSource
from convergence.outside.logs import Log
from convergence.outside.redact import Redactor
from convergence.store import events, runs
from convergence.warehouse.folders import without_folders

MOST_LINES = 1000
"""Of one attempt of one step; what comes after is in the service's log alone."""
MAX_TEXT = 4000
MAX_FACTS = 40

log = Log(__name__)


@dataclass(frozen=True, kw_only=True)
class Teller:
    """The log of one attempt of one step. Secrets that look like keys are left out of it."""

    service: Service
    run: Run
    step_id: str
    sources: tuple[GrantedSource, ...] = ()
    """What the step reads: a tenant is not told where their files are on the server."""
    _lines: Iterator[int] = field(default_factory=lambda: count(1))
    _redact: Redactor = field(default_factory=Redactor)

    def __call__(self, message: str, level: Level = Level.INFO, **facts: object) -> None:
        """Write a line. Raises Conflict when the run has passed to another attempt."""
        log.at(level, message, **facts)
        line = next(self._lines)
        if line == MOST_LINES:
            message, level, facts = "further lines are in the service's log", Level.WARNING, {}
        if line <= MOST_LINES:
            self._write(message, level, facts)

    def _write(self, message: str, level: Level, facts: Mapping[str, object]) -> None:
        event = Event(
            run_id=self.run.run_id,
            tenant_id=self.run.tenant_id,
            at=self.service.clock.now(),
            kind=EventKind.LOG,
            level=level,
            message=self._text(message),
            step_id=self.step_id,
            facts={name: self._plain(value) for name, value in list(facts.items())[:MAX_FACTS]},
        )
        try:
            with self.service.database.write() as tx:
                is_ours = runs.hold(tx, event.tenant_id, event.run_id, attempt=self.run.attempt)
                if is_ours:
                    events.append(tx, event)
        except Unavailable as error:
            # A line is not worth a step; the service's log has it.
            log.warning("line of a run not written", error=error.detail)
            return
        if not is_ours:
            raise Conflict(f"run {event.run_id} has passed to another attempt", code="attempt_lost")

    def _plain(self, value: object) -> Any:  # noqa: ANN401 - a JSON value
        if value is None or (isinstance(value, int | float) and math.isfinite(value)):
            return value
        return self._text(str(value))

    def _text(self, text: str) -> str:
        text = without_folders(self._redact(text), self.sources)
        return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
