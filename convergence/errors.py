"""The family of errors. Each carries its meaning; doors turn it into a status and an exit code.

CdpError
├── Invalid              what was asked cannot be: a body, a date, a template, a statement of SQL
├── Unauthenticated      no key, or not a good one
├── Forbidden            a good key that may not do this
├── NotFound             it does not exist for this caller
├── Conflict             it contradicts the present state
├── QuotaExceeded        a tenant's daily, monthly or concurrent limit is reached
├── Unavailable          a dependency cannot be reached or is busy
├── WarehouseError       the warehouse refused or broke
├── StepFailed           a step ended badly, and trying again will not help
│   └── StepInterrupted  a step ended badly for a passing reason: try again
└── Cancelled            somebody asked for the work to end, or its time was up
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with an input. `pointer` says where: a JSON pointer, or `file:line:col`.

    `line` and `column` count from 1; `excerpt` is that line as it was written.
    """

    message: str
    pointer: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    suggestion: str = ""
    excerpt: str = ""

    @override
    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.file else self.pointer
        head = f"{where}  {self.message}" if where else self.message
        return f"{head} (try: {self.suggestion})" if self.suggestion else head


class CdpError(Exception):
    """The root. `detail` says what happened and where; `hint` what to do; `code` is stable."""

    default_code: ClassVar[str] = "error"

    def __init__(
        self, detail: str, *, code: str = "", hint: str = "", faults: Sequence[Fault] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.hint = hint
        self.faults = tuple(faults)


class Invalid(CdpError):
    default_code = "invalid"


class Unauthenticated(CdpError):
    default_code = "unauthenticated"


class Forbidden(CdpError):
    default_code = "forbidden"


class NotFound(CdpError):
    default_code = "not_found"


class Conflict(CdpError):
    default_code = "conflict"


class QuotaExceeded(CdpError):
    """`kind` is daily, monthly or concurrent; `reset_at` is UTC, None for concurrent."""

    def __init__(
        self,
        detail: str,
        *,
        kind: str,
        current: int,
        limit: int,
        reset_at: datetime | None,
        hint: str = "",
    ) -> None:
        super().__init__(detail, code=f"quota_exceeded.{kind}", hint=hint)
        self.kind = kind
        self.current = current
        self.limit = limit
        self.reset_at = reset_at


class Unavailable(CdpError):
    default_code = "unavailable"


class WarehouseError(CdpError):
    default_code = "warehouse_error"


class StepFailed(CdpError):
    default_code = "step_failed"


class StepInterrupted(StepFailed):
    default_code = "step_interrupted"


class Cancelled(CdpError):
    default_code = "cancelled"
