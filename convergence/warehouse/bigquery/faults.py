"""What BigQuery says when something goes wrong, as what happened, where, and what to do."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests.exceptions
from google.api_core import exceptions
from google.auth import exceptions as auth
from google.cloud.bigquery.retry import DEFAULT_RETRY

from convergence.errors import CdpError, Invalid, NotFound, Unavailable, WarehouseError
from convergence.warehouse.bigquery.access import no_credentials

RETRY_SECONDS = 60.0
"""So long a call is tried again; then the step is, if its template says so."""
RETRY = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)
CALL_SECONDS = 60.0

PASSING = frozenset(
    {
        *("backendError", "internalError", "rateLimitExceeded", "jobRateLimitExceeded"),
        *("jobBackendError", "jobInternalError", "quotaExceeded", "tableUnavailable"),
    }
)
"""Reasons that go away by themselves."""

_NO_TABLE = re.compile(r"Not found: (Table|Dataset|Job) ([^\s]+)")
_PLACE = re.compile(r" at \[(\d+):(\d+)\]")

GOOGLE_ERRORS = (
    exceptions.GoogleAPIError,
    auth.GoogleAuthError,
    requests.exceptions.RequestException,
)


def fault(error: Exception) -> CdpError:
    """The error to raise for one of Google's."""
    if isinstance(error, auth.GoogleAuthError):
        return no_credentials(error)
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return fault(error.cause)
    if isinstance(error, exceptions.GoogleAPICallError):
        first: Mapping[str, Any] = error.errors[0] if error.errors else {}
        reason = first.get("reason") or _REASONS.get(type(error), "")
        return said(reason, first.get("message") or error.message or str(error))
    return Unavailable(
        f"BigQuery cannot be reached: {_line(str(error))}",
        code="warehouse_unreachable",
        hint="check the network; it is tried again where a template says so",
    )


def said(reason: str, message: str) -> CdpError:
    """The error for a reason and a message of BigQuery's, from a call or from a job that ended."""
    text = _line(message)
    if reason in PASSING:
        return _passing(reason, text)
    if "bytes billed" in text:
        return over_limit(text)
    if "streaming buffer" in text:
        return _streamed(text)
    make = _SAID.get(reason)
    return make(text) if make else WarehouseError(f"BigQuery refused: {text}", hint="see the log")


def _passing(reason: str, text: str) -> CdpError:
    is_quota = reason in {"quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded"}
    return Unavailable(
        f"BigQuery asks to wait: {text}",
        code="warehouse_quota" if is_quota else "warehouse_busy",
        hint="it is tried again where a template says so; a quota is raised in the console, "
        "IAM & Admin > Quotas"
        if is_quota
        else "it is tried again where a template says so",
    )


def _streamed(text: str) -> WarehouseError:
    return WarehouseError(
        f"rows that were streamed just now cannot be changed yet: {text}",
        code="rows_streamed",
        hint="BigQuery keeps them apart for up to 90 minutes: run it again then",
    )


def _forbidden(text: str) -> WarehouseError:
    return WarehouseError(
        f"BigQuery does not permit it: {text}",
        code="warehouse_forbidden",
        hint="docs/guides/bigquery.md lists the roles; grant them to the service account",
    )


def _too_large(text: str) -> Invalid:
    return Invalid(
        f"the statement needs more than BigQuery gives: {text}",
        code="query_too_large",
        hint="ask for fewer rows, days or groups",
    )


def over_limit(
    text: str,
    hint: str = "raise the limit: maximum_bytes_billed of the step, cdp quota set TENANT --bytes, "
    "CDP_BIGQUERY_MAX_BYTES",
) -> Invalid:
    return Invalid(
        f"it would read more than it may: {text}",
        code="byte_limit",
        hint=f"ask for fewer days or columns, or {hint}",
    )


def not_found(text: str) -> NotFound:
    found = _NO_TABLE.search(text)
    kind = found[1].lower() if found else "table"
    hints = {
        "dataset": "cdp db check tells what is missing, cdp db migrate makes it; "
        "if it is there, CDP_BIGQUERY_LOCATION must be its location",
        "job": "the job is lost or older than half a year: run it again",
    }
    hint = hints.get(kind, "check its name and that the service account may read it")
    return NotFound(f"not in BigQuery: {text}", code=f"{kind}_not_found", hint=hint)


def wrong_sql(text: str) -> Invalid:
    at = _PLACE.search(text)
    what = _PLACE.sub("", text)
    return Invalid(
        f"{at[1]}:{at[2]}: {what}" if at else what,
        code="sql_failed",
        hint="the statement was read, but cannot be run",
    )


_SAID: Mapping[str, Callable[[str], CdpError]] = {
    "bytesBilledLimitExceeded": over_limit,
    "accessDenied": _forbidden,
    "forbidden": _forbidden,
    "notFound": not_found,
    "resourcesExceeded": _too_large,
    "invalidQuery": wrong_sql,
    "invalid": wrong_sql,
}


@contextmanager
def told() -> Iterator[None]:
    """Google's errors as ours."""
    try:
        yield
    except GOOGLE_ERRORS as error:
        raise fault(error) from error


_REASONS: Mapping[type[Exception], str] = {
    exceptions.TooManyRequests: "rateLimitExceeded",
    exceptions.InternalServerError: "internalError",
    exceptions.BadGateway: "backendError",
    exceptions.ServiceUnavailable: "backendError",
    exceptions.GatewayTimeout: "backendError",
    exceptions.Forbidden: "accessDenied",
    exceptions.NotFound: "notFound",
    exceptions.BadRequest: "invalid",
}


def _line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[0][:400] if lines else "no reason given"
