"""Errors: RFC 9457, with `error` and `message` beside it for clients of the original system."""

from dataclasses import asdict

from pydantic import AwareDatetime

from convergence.api.wire.shape import Out
from convergence.errors import Fault


class FaultOut(Out):
    """One thing that is wrong, and where: by a JSON pointer, or by file, line and column.

    What is empty is left out of an answer.
    """

    message: str
    pointer: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    suggestion: str = ""
    excerpt: str = ""


class Problem(Out):
    """`code` is stable, `hint` says what to do, `request_id` is found again in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FaultOut]
    hint: str
    error: str
    message: str


class RateProblem(Problem):
    """429 with the code `rate_limited`; `retry_after` is in seconds."""

    retry_after: int


class QuotaProblem(Problem):
    """429 with a code of `quota_exceeded.daily|monthly|concurrent`.

    `reset_at` is null for concurrent: that ends when one of the runs ends.
    """

    quota_type: str
    current_usage: int
    limit: int
    reset_at: AwareDatetime | None
    retry_after: int


class ReadinessProblem(Problem):
    """503 of `/health/ready`: `ok`, or what is wrong, by the name of the check."""

    checks: dict[str, str]


def fault_out(fault: Fault) -> FaultOut:
    return FaultOut(**asdict(fault))


class Alive(Out):
    status: str
    service: str
    version: str


class Health(Alive):
    environment: str


class Ready(Alive):
    checks: dict[str, str]
