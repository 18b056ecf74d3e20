"""One line for a person out of an event of a run, or out of a line of the service's log."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from convergence.cli.output import cell

HEAD = ("timestamp", "severity", "message", "logger", "exception")


class Severity(StrEnum):
    """How much a line matters, in rising order."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def is_at_least(level: str, least: Severity) -> bool:
    """`level` as it is written: INFO. One that is not known matters."""
    ranks = list(Severity)
    known = {rank.value.upper(): place for place, rank in enumerate(ranks)}
    return known.get(level, len(ranks)) >= ranks.index(least)


def event_line(event: Mapping[str, Any]) -> str:
    """A change of status names its step by itself."""
    if event["kind"] == "state":
        return _line(event["at"], event["level"], event["message"], {})
    said = f"{event['step_id']}: {event['message']}" if event["step_id"] else event["message"]
    return _line(event["at"], event["level"], said, event["facts"])


def log_line(record: Mapping[str, Any]) -> str:
    facts = {name: value for name, value in record.items() if name not in HEAD}
    said = f"{record.get('logger', '')}: {record.get('message', '')}".removeprefix("convergence.")
    head = _line(str(record.get("timestamp", "")), str(record.get("severity", "")), said, facts)
    trace = str(record.get("exception", "")).splitlines()
    return "\n    ".join([head, *map(cell, trace)])


def _line(at: str, level: str, message: str, facts: Mapping[str, Any]) -> str:
    said = "".join(f"  {name}={cell(value)}" for name, value in facts.items())
    return f"{at[:23].rstrip('Z')}Z {level:<7} {cell(message)}{said}"
