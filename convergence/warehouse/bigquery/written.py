"""Rows that are staged in BigQuery, and what goes wrong with them, told as a step's failure."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqlglot import exp

from convergence.errors import (
    Cancelled,
    Invalid,
    NotFound,
    StepFailed,
    StepInterrupted,
    Unavailable,
    WarehouseError,
)
from convergence.model.load import FileState, LoadKey
from convergence.model.table import Column
from convergence.warehouse.bigquery.jobs import TIMEOUT
from convergence.warehouse.bigquery.sources import Sight
from convergence.warehouse.staged import StagedTotals, StageRequest

LOADS = "x_meta_loads"


@dataclass(slots=True, eq=False, kw_only=True)
class StagedLoad:
    """Rows in a table of their own, and how they were found."""

    request: StageRequest
    name: str
    table: exp.Table
    target: exp.Table
    columns: tuple[Column, ...]
    statement: str
    sight: Sight | None
    units: tuple[FileState, ...]
    holds: ExitStack = field(default_factory=ExitStack)
    totals: StagedTotals | None = None
    is_open: bool = True
    is_published: bool = False

    @property
    def key(self) -> LoadKey:
        return self.request.key


@contextmanager
def explained(request: StageRequest) -> Iterator[None]:
    """Make BigQuery's errors StepFailed: those that pass are worth another attempt."""
    where = f"{request.dataset}.{request.table}"
    try:
        yield
    except Unavailable as error:
        raise StepInterrupted(
            f"{where}: {error.detail}", code=error.code, hint=error.hint
        ) from error
    except Invalid as error:
        code = "query_failed" if error.code == "sql_failed" else error.code
        raise StepFailed(f"{where}: {error.detail}", code=code, hint=error.hint) from error
    except Cancelled as error:
        if error.code != TIMEOUT:
            raise
        raise StepFailed(f"{where}: {error.detail}", code=error.code, hint=error.hint) from error
    except (NotFound, WarehouseError) as error:
        if error.code == "not_staged":
            raise
        raise StepFailed(f"{where}: {error.detail}", code=error.code, hint=error.hint) from error
