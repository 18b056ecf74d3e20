"""On whose errand a warehouse works: how its jobs are labelled and limited, and what they cost.

The engine sends a step on its errand; a warehouse that bills for its work heeds it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work that was billed. `bytes_billed` and `slot_ms` as far as they are known."""

    job_id: str
    bytes_billed: int = 0
    slot_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """`max_bytes` is the most that one job may read; `jobs` are those that were done."""

    labels: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int | None = None
    jobs: list[Job] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """For the step log; nothing where nothing was billed."""
        if not self.jobs:
            return {}
        return {
            "bytes_billed": sum(job.bytes_billed for job in self.jobs),
            "slot_ms": sum(job.slot_ms for job in self.jobs),
            "jobs": [job.job_id for job in self.jobs],
        }


_NONE = Errand()
_current: ContextVar[Errand] = ContextVar("errand", default=_NONE)


@contextmanager
def on_errand(errand: Errand) -> Iterator[Errand]:
    """While inside, this thread works on the errand."""
    token = _current.set(errand)
    try:
        yield errand
    finally:
        _current.reset(token)


def current() -> Errand:
    return _current.get()


def done(job: Job) -> None:
    """Note a job for whom it was done, once."""
    errand = _current.get()
    if errand is not _NONE and job.job_id not in {each.job_id for each in errand.jobs}:
        errand.jobs.append(job)
