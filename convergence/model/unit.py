"""The units of a source (files), and what a change of them means for the days of a bill."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property

from convergence.errors import StepFailed
from convergence.model.load import FileState, SourceState
from convergence.model.money import MoneyKey, Total, Totals, row_count

RACY_NS = 2 * 10**9
"""A file changed so shortly before it was read may change again without looking different."""

SHOWN = 5
"""So many days of a file are named."""

Locate = Callable[[str, date], str]

Problems = dict[date | None, StepFailed]
"""What keeps a day from being loaded; None stands for every day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDay:
    """What one file holds of one usage day, as far as the tenant may see it."""

    day: date
    totals: Totals
    max_export_time: datetime | None = None

    @property
    def rows(self) -> int:
        return row_count(self.totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One file as it was read. `fault` says why it could not be; then `days` may lack some."""

    file: FileState
    content_hash: str
    columns: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    days: tuple[UnitDay, ...] = ()
    seen_at: datetime | None = None
    fault: str = ""

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def dates(self) -> frozenset[date]:
        return frozenset(day.day for day in self.days)

    @property
    def newest(self) -> datetime | None:
        return _latest(day.max_export_time for day in self.days)

    def is_as(self, file: FileState) -> bool:
        """Whether the file is what was read, for all that can be told without reading it."""
        if file != self.file:
            return False
        seen_ns = int(self.seen_at.timestamp() * 10**9) if self.seen_at else 0
        return file.mtime_ns < seen_ns - RACY_NS


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A source beside what is known of it: files that are other than they were, or gone.

    `known` are the units of the last settled survey, `seen` all that are there now. `published`
    says of each day that was ever loaded what its rows were read from, None where that is no
    whole day, or not sure yet: others load days, too.
    """

    table: str
    source: str
    narrowing: str
    known: Mapping[str, Unit]
    seen: Mapping[str, Unit]
    published: Mapping[date, SourceState | None]
    is_first: bool
    """Whether nothing was ever settled: then days are loaded, and none is restated."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Names that lead to another file of the source, which is read once."""
    problems: Problems = field(default_factory=dict)

    @cached_property
    def files(self) -> frozenset[FileState]:
        """All that are there, those without rows of a day included."""
        return frozenset(unit.file for unit in self.seen.values())

    @cached_property
    def altered(self) -> tuple[Unit, ...]:
        """New files, and those with another content."""
        return tuple(unit for unit in self.seen.values() if not self._is_known(unit))

    @property
    def vanished(self) -> tuple[Unit, ...]:
        return tuple(unit for path, unit in self.known.items() if path not in self.seen)

    @property
    def lacking(self) -> dict[tuple[str, ...], list[str]]:
        """New files by the columns that they lack and most of the others have."""
        whole = [unit for unit in self.seen.values() if unit.columns and not unit.fault]
        usual = usual_columns(unit.columns for unit in whole)
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for unit in whole:
            lost = tuple(sorted(usual - unit.columns))
            if lost and unit.path not in self.known:
                found[lost].append(unit.path)
        return found

    @cached_property
    def changed_days(self) -> frozenset[date]:
        """Days that an altered or vanished file holds, or held; and those whose rows were read
        from other files than hold them now.
        """
        before = [self.known[unit.path] for unit in self.altered if unit.path in self.known]
        units = [*self.altered, *self.vanished, *before]
        others = frozenset(day for day in self.published if self._is_of_others(day))
        return others.union(*(unit.dates for unit in units))

    def is_current(self, day: date) -> bool:
        """Whether the day's rows were read from just the files that hold it now."""
        read = self.published.get(day)
        return read is not None and not read.is_elsewhere and read.holds_as(self.state(day))

    def _is_of_others(self, day: date) -> bool:
        """Of a source that has been moved since, the files of a day say nothing."""
        read = self.published[day]
        return not (read is not None and read.is_elsewhere) and not self.is_current(day)

    @property
    def watermark(self) -> datetime | None:
        return _latest(unit.newest for unit in self.seen.values())

    def by_day(self, days: Set[date]) -> dict[date, UnitDay]:
        """The totals of each day over all files, oldest first."""
        return {day: _joined(day, [part for _, part in self._held(day)]) for day in sorted(days)}

    def state(self, day: date) -> SourceState:
        """The day's source, as a load that read it would record it."""
        held = self._held(day)
        return SourceState(
            max_export_time=_latest(part.max_export_time for _, part in held),
            files=tuple(
                replace(unit.file, rows=part.rows, content_hash=unit.content_hash)
                for unit, part in held
            ),
            narrowing=self.narrowing,
        )

    def _held(self, day: date) -> Sequence[tuple[Unit, UnitDay]]:
        """What each file holds of the day, by path."""
        return self._by_day.get(day, ())

    @cached_property
    def _by_day(self) -> dict[date, list[tuple[Unit, UnitDay]]]:
        found: dict[date, list[tuple[Unit, UnitDay]]] = defaultdict(list)
        for _, unit in sorted(self.seen.items()):
            for part in unit.days:
                found[part.day].append((unit, part))
        return found

    def is_whole(self, failed: Set[date]) -> bool:
        """Whether all of the source is as it should be."""
        return not failed and not any(unit.fault for unit in self.seen.values())

    def settled(self, failed: Set[date]) -> tuple[list[Unit], list[str]]:
        """Units to remember and paths to forget: those all of whose days are as the source is.

        Of a file with other days too, those that were loaded are remembered, and that it is to be
        read again: should it vanish, its rows are missed.
        """

        def is_done(unit: Unit) -> bool:
            before = self.known.get(unit.path)
            days = unit.dates | (before.dates if before else frozenset())
            return not unit.fault and not days & failed

        kept = [unit for unit in self.seen.values() if is_done(unit) and not self._is_same(unit)]
        others = (unit for unit in self.seen.values() if not is_done(unit))
        kept += [part for unit in others if (part := self._in_part(unit, failed))]
        return kept, [unit.path for unit in self.vanished if not unit.dates & failed]

    def _in_part(self, unit: Unit, failed: Set[date]) -> Unit | None:
        """What is known of a file, and its days that were loaded, if there are any."""
        loaded = {} if unit.fault else {d.day: d for d in unit.days if d.day not in failed}
        if not loaded:
            return None
        known = self.known.get(unit.path, unit)
        before = {d.day: d for d in known.days} if known is not unit else {}
        days = tuple(part for _, part in sorted((before | loaded).items()))
        return replace(known, content_hash="", days=days)

    def _is_known(self, unit: Unit) -> bool:
        known = self.known.get(unit.path)
        return known is not None and not unit.fault and known.content_hash == unit.content_hash

    def _is_same(self, unit: Unit) -> bool:
        return self.known.get(unit.path) is unit


def usual_columns(columns: Iterable[frozenset[str]]) -> frozenset[str]:
    """Those that most files have; of those that tell of none, as JSON does, nothing is known."""
    known = list(filter(None, columns))
    having = Counter(name for each in known for name in each)
    return frozenset(name for name, count in having.items() if 2 * count > len(known) - 1)


def find_problems(
    survey: Survey, *, today: date, allow_shrink: bool, locate: Locate = lambda *_: ""
) -> Problems:
    """What is wrong with the altered files, by the days that it keeps from being loaded. `locate`
    tells which rows of a file are of a day; it is asked for `SHOWN` days at most.
    """
    found: Problems = {}
    sparing = _sparing(locate)
    for error, days in _problems(survey, sparing, today=today, allow_shrink=allow_shrink):
        for day in days or [None]:
            found.setdefault(day, error)
    return found


def _sparing(locate: Locate) -> Locate:
    """Asks once for a day, in whichever file, and for so many days of the whole survey."""
    asked: set[date] = set()

    def located(path: str, day: date) -> str:
        if day in asked or len(asked) >= SHOWN:
            return ""
        asked.add(day)
        return locate(path, day)

    return located


def _problems(
    survey: Survey, locate: Locate, *, today: date, allow_shrink: bool
) -> Iterator[tuple[StepFailed, Set[date]]]:
    for unit in survey.altered:
        if unit.fault:
            yield broken_source(survey.source, f"{unit.path}: {unit.fault}"), unit.dates
        elif (lost := _lost_columns(survey, unit)) and not allow_shrink:
            yield _lacking(survey, unit, lost), unit.dates
        yield from _future(survey, unit, locate, today)
    yield from _mixed(survey)


def broken_source(source: str, what: str) -> StepFailed:
    """`what` names the files, what is wrong with each, and in which rows."""
    return StepFailed(
        f"source {source} cannot be read: {what}",
        code="source_broken",
        hint="correct the file, or export it again, or take it out of the source's folder",
    )


def _lost_columns(survey: Survey, unit: Unit) -> list[str]:
    before = survey.known.get(unit.path)
    return sorted(before.columns - unit.columns) if before else []


def _lacking(survey: Survey, unit: Unit, lost: list[str]) -> StepFailed:
    return StepFailed(
        f"source {survey.source}: {unit.path} has lost {', '.join(lost)}, which it had before: "
        f"{_held(unit)}",
        code="column_lost",
        hint="export the file again, or accept the loss with allow_shrink (--allow-shrink)",
    )


def _future(
    survey: Survey, unit: Unit, locate: Locate, today: date
) -> Iterator[tuple[StepFailed, Set[date]]]:
    late = [part for part in unit.days if part.day > today + timedelta(days=1)]
    for part in late:
        where = locate(unit.path, part.day)
        error = StepFailed(
            f"source {survey.source} holds rows of {part.day}, which is still to come: "
            + (where or f"{part.rows} in {unit.path}"),
            code="future_usage",
            hint="correct usage_start_time in the source; the clock of this machine may be wrong",
        )
        yield error, {part.day}


def _mixed(survey: Survey) -> Iterator[tuple[StepFailed, Set[date]]]:
    """Files that share no billing account, directly or through others, are two exports.

    A reseller's export holds many accounts, and a wildcard source many tables: `*` in the
    source's name, or accounts named in the grant, say that they belong together.
    """
    fresh = {unit.path: unit.accounts for unit in survey.altered}
    rows = {unit.path: sum(part.rows for part in unit.days) for unit in survey.altered}
    known = frozenset[str]().union(*(unit.accounts for unit in survey.known.values()))
    own, foreign = parted(fresh, rows, known)
    if is_of_many(survey.source, survey.narrowing):
        return
    for path in foreign:
        unit = survey.seen[path]
        yield mixed(survey.source, own, path, unit.accounts, _held(unit)), unit.dates


def _held(unit: Unit) -> str:
    """How many rows of which days are concerned."""
    days = [f"{part.rows} row{'' if part.rows == 1 else 's'} of {part.day}" for part in unit.days]
    more = f" and of {len(days) - SHOWN} more days" if len(days) > SHOWN else ""
    return f"{', '.join(days[:SHOWN])}{more}"


def is_of_many(source: str, narrowing: str) -> bool:
    """Whether an export may well hold accounts that nothing else joins."""
    return source.endswith("*") or '"billing_account_ids"' in narrowing


def parted(
    accounts_of: Mapping[str, frozenset[str]],
    rows_of: Mapping[str, int],
    known: frozenset[str] = frozenset(),
) -> tuple[frozenset[str], list[str]]:
    """The accounts of the export, and the files that hold others alone. It is the one whose
    accounts are `known`; else the one of most rows, then of most files, then of the first file.
    """
    fresh = {path: accounts for path, accounts in accounts_of.items() if accounts}
    if known:
        own, foreign = _joined_to(known, fresh)
        return own, list(foreign)
    own, size, left = known, (0, 0), fresh
    while left:
        accounts, others = _joined_to(next(iter(left.values())), left)
        its = left.keys() - others.keys()
        if (held := (sum(rows_of[path] for path in its), len(its))) > size:
            own, size = accounts, held
        left = others
    return own, [path for path, accounts in fresh.items() if not accounts & own]


def _joined_to(
    accounts: frozenset[str], fresh: Mapping[str, frozenset[str]]
) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """With those that share a file with one of them, and so on; and the files that share none."""
    left = dict(fresh)
    while joining := [path for path, those in left.items() if those & accounts]:
        accounts = accounts.union(*(left.pop(path) for path in joining))
    return accounts, left


def mixed(source: str, own: Set[str], path: str, accounts: Set[str], what: str) -> StepFailed:
    return StepFailed(
        f"source {source} is the export of {', '.join(sorted(own))}; {path} holds "
        f"{', '.join(sorted(accounts))}: {what}",
        code="mixed_accounts",
        hint="give each export a source of its own; or name the accounts that belong "
        "together in the grant (billing_account_ids)",
    )


def _joined(day: date, parts: Sequence[UnitDay]) -> UnitDay:
    totals: dict[MoneyKey, Total] = {}
    for part in parts:
        for key, total in part.totals.items():
            totals[key] = totals.get(key, Total()) + total
    newest = _latest(part.max_export_time for part in parts)
    return UnitDay(day=day, totals=totals, max_export_time=newest)


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
