"""What quality checks found: of one check, and of all checks of a table's day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from convergence.model.check import Check, CheckKind, Severity

MAX_SAMPLES = 20
MAX_TEXT = 100
MAX_CELLS = 12
"""Columns of a sample row that are kept: the check's own first."""


class Verdict(StrEnum):
    """FAIL: a critical check failed. WARNING: one that warns did. Else PASS."""

    PASS = "PASS"  # noqa: S105 - the word of the published table
    WARNING = "WARNING"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What was counted for a check: rows it is about, those that fail, or one value of them all."""

    checked: int
    failed: int = 0
    actual: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """`threshold` and `actual` are for people. `samples` are failing rows, as texts by column."""

    name: str
    check: CheckKind
    severity: Severity
    passed: bool
    rows_checked: int
    rows_failed: int
    column: str = ""
    where: str = ""
    threshold: str = ""
    actual: str = ""
    samples: tuple[Mapping[str, str | None], ...] = ()

    @property
    def failure_rate(self) -> Decimal:
        if not self.rows_checked:
            return Decimal(0)
        return (Decimal(self.rows_failed) / self.rows_checked).quantize(Decimal("0.000001"))

    def to_json(self) -> dict[str, Any]:
        """JSON values; texts and samples that are empty are left out."""
        texts = {
            "column": self.column,
            "where": self.where,
            "threshold": self.threshold,
            "actual": self.actual,
        }
        return {
            "name": self.name,
            "check": self.check.value,
            "severity": self.severity.value,
            "passed": self.passed,
            "rows_checked": self.rows_checked,
            "rows_failed": self.rows_failed,
            **{name: text for name, text in texts.items() if text},
            **({"samples": [dict(each) for each in self.samples]} if self.samples else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "CheckResult":
        known = {
            "check": CheckKind(value["check"]),
            "severity": Severity(value["severity"]),
            "samples": tuple(value.get("samples", ())),
        }
        return cls(**{**value, **known})


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityResult:
    """All checks of one table's day and source, in one run. `load_id` None: nothing published."""

    dq_result_id: str
    tenant_id: str
    run_id: str
    step_id: str
    table: str
    day: date
    source: str
    suite: str
    executed_at: datetime
    checks: tuple[CheckResult, ...]
    load_id: str | None = None

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Those that failed, the gravest first."""
        order = list(Severity)
        return tuple(
            sorted((c for c in self.checks if not c.passed), key=lambda c: order.index(c.severity))
        )

    @property
    def passed_count(self) -> int:
        return len(self.checks) - len(self.failed)

    @property
    def verdict(self) -> Verdict:
        severities = {check.severity for check in self.failed}
        if Severity.CRITICAL in severities:
            return Verdict.FAIL
        return Verdict.WARNING if Severity.WARNING in severities else Verdict.PASS

    @property
    def sentence(self) -> str:
        """`2 of 24 checks failed: cost range (3 of 90 rows), …`; what is for information is only
        counted.
        """
        if not self.failed:
            return f"all {len(self.checks)} quality checks passed"
        grave = [check for check in self.failed if check.severity is not Severity.INFO]
        if not grave:
            return f"{self.passed_count} of {len(self.checks)} quality checks passed"
        told = "; ".join(map(_told, grave[:5]))
        more = f"; and {len(grave) - 5} more" if len(grave) > 5 else ""
        return f"{len(self.failed)} of {len(self.checks)} quality checks failed: {told}{more}"


def judge(check: Check, measure: Measure, *, now: datetime) -> CheckResult:
    """Whether a check passes by what was counted."""
    passed, threshold, actual = _verdict(check, measure, now)
    is_of_rows = check.check in ROW_KINDS and measure.actual is None
    failed = measure.failed if is_of_rows else 0
    return CheckResult(
        name=check.label,
        check=check.check,
        severity=check.severity,
        column=", ".join(check.read_columns),
        where=check.where or "",
        passed=passed,
        rows_checked=measure.checked,
        rows_failed=failed,
        threshold=threshold,
        actual=actual,
    )


ROW_KINDS = frozenset(
    {
        CheckKind.NOT_NULL,
        CheckKind.UNIQUE,
        CheckKind.RANGE,
        CheckKind.ACCEPTED_VALUES,
        CheckKind.REGEX,
        CheckKind.NO_FUTURE_DATES,
        CheckKind.CUSTOM_SQL,
    }
)
"""Kinds that are true or false of each row; custom SQL with aggregates is of all rows."""


def _verdict(check: Check, measure: Measure, now: datetime) -> tuple[bool, str, str]:
    actual = measure.actual
    match check.check:
        case CheckKind.ROW_COUNT:
            return _is_between(check, Decimal(actual)), _bounds(check), f"{actual} rows"
        case CheckKind.FRESHNESS:
            age = timedelta(hours=float(check.max_age_hours or 0))
            is_fresh = actual is not None and now - actual <= age
            seen = actual.isoformat() if actual is not None else "no value"
            return is_fresh, f"at most {check.max_age_hours} h old", seen
        case CheckKind.CURRENCY_SINGLE:
            return actual <= 1, "one currency", f"{actual} currencies"
        case CheckKind.SUM_MATCHES_SOURCE:
            return not actual, "equal to the source", str(actual or "equal")
        case CheckKind.CUSTOM_SQL if actual is not None:
            return bool(actual), "true", str(bool(actual)).lower()
    allowed = measure.checked * (1 - check.mostly)
    failing = "1 row fails" if measure.failed == 1 else f"{measure.failed} rows fail"
    return measure.failed <= allowed, _threshold(check), failing


def _is_between(check: Check, value: Decimal) -> bool:
    is_low = check.min is not None and value < check.min
    is_high = check.max is not None and value > check.max
    return not (is_low or is_high)


def _threshold(check: Check) -> str:
    share = f"{(check.mostly * 100).normalize():f} % of rows"
    bounds = _bounds(check) if check.check is CheckKind.RANGE else ""
    return f"{share} {bounds}".strip()


def _bounds(check: Check) -> str:
    if check.min is not None and check.max is not None:
        return f"between {check.min:f} and {check.max:f}"
    return f"at least {check.min:f}" if check.min is not None else f"at most {check.max:f}"


def _told(check: CheckResult) -> str:
    if check.rows_failed:
        return f"{check.name} ({check.rows_failed} of {check.rows_checked} rows, {check.severity})"
    return f"{check.name} ({check.actual}, expected {check.threshold}; {check.severity})"


def sample_of(
    names: Sequence[str], row: Sequence[object], first: Sequence[str]
) -> dict[str, str | None]:
    """A failing row in a few short texts: the columns that matter, then others with a value."""
    found = dict(zip(names, row, strict=True))
    order = [*(name for name in first if name in found), *names]
    kept = [name for name in dict.fromkeys(order) if name in first or found[name] is not None]
    return {name: _short(found[name]) for name in kept[:MAX_CELLS]}


def _short(value: object) -> str | None:
    if value is None:
        return None
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
