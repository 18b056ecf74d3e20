"""What goes wrong: the errors of the API, and those that a test asks for."""

import re
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any


class ApiError(Exception):
    """An answer that is an error: status, reason and words as BigQuery has them."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def proto(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "domain": "global"}

    def body(self) -> dict[str, Any]:
        said = {"code": self.status, "message": self.message, "errors": [self.proto()]}
        return {"error": said}


def invalid(message: str, reason: str = "invalid") -> ApiError:
    return ApiError(400, reason, message)


def not_found(what: str) -> ApiError:
    return ApiError(404, "notFound", f"Not found: {what}")


class Fault(Enum):
    """What a request meets in place of its answer. LOST does the work and loses the answer."""

    RATE_LIMIT = (429, "rateLimitExceeded", "Exceeded rate limits: too many jobs")
    QUOTA = (403, "quotaExceeded", "Quota exceeded: too many table update operations")
    BACKEND = (503, "backendError", "Error encountered during execution. Retrying may solve it.")
    INTERNAL = (500, "internalError", "An internal error occurred")
    DENIED = (403, "accessDenied", "Access Denied: User does not have permission")
    CONFLICT = (409, "duplicate", "Already Exists: Job")
    GONE = (404, "notFound", "Not found: Job local:EU.lost")
    LOST = (503, "backendError", "The answer was lost")

    @property
    def error(self) -> ApiError:
        return ApiError(*self.value)


@dataclass(kw_only=True)
class _Planned:
    fault: Fault
    method: str
    path: re.Pattern[str]
    times: int


class Faults:
    """The faults that are due, in order of their planning."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def plan(self, fault: Fault, *, method: str = "", path: str = "", times: int = 1) -> None:
        """The next `times` requests whose method and path (a regular expression) fit."""
        planned = _Planned(fault=fault, method=method, path=re.compile(path), times=times)
        with self._lock:
            self._planned.append(planned)

    def due(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for planned in self._planned:
                fits = planned.method in {"", method} and planned.path.search(path)
                if fits and planned.times > 0:
                    planned.times -= 1
                    return planned.fault
        return None

    def clear(self) -> None:
        with self._lock:
            self._planned.clear()
