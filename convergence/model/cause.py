"""Why days of a source were not loaded, in words: equal causes once, with the days they are of."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from convergence.errors import CdpError

TOLD = 20
"""So many sentences are told, of each kind of failure at least one."""

SPANS = 5
"""So many unbroken rows of days are named."""

DAY = "<day>"
"""Stands for each of its days in a sentence that is told of more than one."""

Kind = tuple[str, str]
"""A code and a hint: what is to be done."""


def explain(failed: Mapping[date, CdpError], general: CdpError | None = None) -> tuple[str, str]:
    """What happened, and the hint where one is for all; where hints differ, each is in the text
    behind what it is for. `general` is of no day.
    """
    kinds: dict[Kind, dict[str, list[date]]] = defaultdict(lambda: defaultdict(list))
    days_of = Counter(error.detail for error in failed.values())
    for day, error in sorted(failed.items()):
        is_own = days_of[error.detail] == 1
        cause = error.detail.replace(str(day), DAY) if is_own else error.detail
        kinds[error.code, error.hint][cause].append(day)
    if general is not None and general.detail not in days_of:
        kinds[general.code, general.hint][general.detail] = []
    most = max(1, TOLD // max(1, len(kinds)))
    told = {kind: _listed(causes, most) for kind, causes in kinds.items()}
    if len(kinds) > 1:
        return "; ".join(f"{text} ({_way_out(*kind)})" for kind, text in told.items()), ""
    ((_, hint),) = kinds
    return "; ".join(told.values()), hint


def spans(days: Sequence[date]) -> str:
    """Sorted days by the unbroken rows they form; of many rows the first and the last day, and how
    many are meant.
    """
    every = set(days)
    firsts = [day for day in days if day - timedelta(days=1) not in every]
    lasts = [day for day in days if day + timedelta(days=1) not in every]
    if len(firsts) > SPANS:
        return f"{days[0]} to {days[-1]} ({len(days)} days)"
    rows = zip(firsts, lasts, strict=True)
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in rows)


def _listed(causes: Mapping[str, Sequence[date]], most: int) -> str:
    more = f"; and {len(causes) - most} more" if len(causes) > most else ""
    return "; ".join([_sentence(*cause) for cause in causes.items()][:most]) + more


def _sentence(cause: str, days: Sequence[date]) -> str:
    if not days:
        return cause
    return f"{spans(days)}: {cause.replace(DAY, str(days[0])) if len(days) == 1 else cause}"


def _way_out(code: str, hint: str) -> str:
    return f"{code}; try: {hint}" if hint else code
