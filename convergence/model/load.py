"""A load: one write of one day of one source into one table, and the proof that it is right."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, ClassVar

from convergence.model.money import Totals

NO_SOURCE = "query"
"""The source of rows that a query takes from no export."""
EXPIRED = "day_expired"
"""Why a day is not loaded that is older than its table keeps."""


class LoadStatus(StrEnum):
    STAGED = "STAGED"
    PUBLISHED = "PUBLISHED"
    DISCARDED = "DISCARDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadKey:
    """The unit of replacement."""

    table: str
    day: date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncompleteDay:
    """A day that lacks rows of a source: run `run_id` could not load it, for the reason `code`.

    None stands for every day: rows were refused whose days cannot be told.
    """

    EVERY_DAY: ClassVar[date] = date.min

    day: date | None
    source: str
    run_id: str
    code: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file as it was when it was read. `rows` are those of the day that was loaded.

    `content_hash`, of its bytes, is told of the files that held rows; size and times decide whether
    a file is the same without reading it. `ctime_ns` moves whenever a file is written or replaced,
    also where the modification time was put back; of rows in a table without partitions it is a
    number that changes with them, and their `size` is 0.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    rows: int = 0
    content_hash: str = field(default="", compare=False)
    links: tuple[str, ...] = field(default=(), compare=False)
    """Other names by which the source has it, too: it is read once."""
    lacking: tuple[str, ...] = field(default=(), compare=False)
    """Columns that it lacks and most files of the source have, as far as a load has looked."""

    @property
    def changed_at(self) -> datetime:
        return datetime.fromtimestamp(self.mtime_ns / 10**9, UTC)

    def holds_as(self, other: "FileState") -> bool:
        """Whether both gave the same rows: by their bytes, where these are known."""
        if self.content_hash and other.content_hash:
            same = self.content_hash == other.content_hash
        else:
            same = self._stat_at(other) == other._stat_at(self)
        return same and self.rows == other.rows

    def _stat_at(self, other: "FileState") -> tuple[int, int, int]:
        """Size and times, as far as both have them: loads from before have no `ctime_ns`."""
        return self.size, self.mtime_ns, self.ctime_ns if other.ctime_ns else 0


def _kept(file: FileState) -> dict[str, Any]:
    values = asdict(file)
    del values["links"], values["lacking"]
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What a source was when it was read: its newest export time, and its files that held rows."""

    max_export_time: datetime | None = None
    files: tuple[FileState, ...] = ()
    narrowing: str = ""
    """What of the source the tenant could see, as text; empty for all of it."""
    is_elsewhere: bool = False
    """Whether the source has been read from another place since: its files are not today's."""

    def to_json(self) -> dict[str, Any]:
        return {
            "max_export_time": self.max_export_time.isoformat() if self.max_export_time else None,
            "files": [_kept(file) for file in self.files],
            **({"narrowing": self.narrowing} if self.narrowing else {}),
            **({"is_elsewhere": True} if self.is_elsewhere else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SourceState":
        newest = value.get("max_export_time")
        return cls(
            max_export_time=datetime.fromisoformat(newest) if newest else None,
            files=tuple(FileState(**item) for item in value.get("files", ())),
            narrowing=value.get("narrowing", ""),
            is_elsewhere=value.get("is_elsewhere", False),
        )

    @property
    def copies(self) -> list[tuple[str, str]]:
        """Pairs of files with the same bytes: all their rows count twice."""
        first: dict[str, str] = {}
        found = []
        for file in self.files:
            known = first.setdefault(file.content_hash or file.path, file.path)
            if known != file.path:
                found.append((known, file.path))
        return found

    def holds_as(self, other: "SourceState") -> bool:
        """Whether both told the same rows of a day: the same files held them, and as much of these
        could be seen.
        """
        mine = {file.path: file for file in self.files if file.rows}
        theirs = {file.path: file for file in other.files if file.rows}
        return (
            self.narrowing == other.narrowing
            and mine.keys() == theirs.keys()
            and all(file.holds_as(theirs[path]) for path, file in mine.items())
        )

    def is_older_than(self, other: "SourceState") -> bool:
        """Whether this is an earlier sight of the source: a file of both is older, none is newer.

        A file that was rewritten has a newer modification time, so it is never taken for older,
        even when its export times went back. Without files the newest export time decides, and
        where `other` was seen in another place.
        """
        if other.is_elsewhere or not (self.files or other.files):
            mine, theirs = self.max_export_time, other.max_export_time
            return mine is not None and theirs is not None and mine < theirs
        known = {file.path: file.mtime_ns for file in other.files}
        ages = [file.mtime_ns - known[file.path] for file in self.files if file.path in known]
        return any(age < 0 for age in ages) and not any(age > 0 for age in ages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One row of `loads`. `previous` are the totals that this load replaces."""

    load_id: str
    run_id: str
    tenant_id: str
    key: LoadKey
    attempt: int
    status: LoadStatus
    totals: Totals
    source_totals: Totals
    previous: Totals = field(default_factory=dict)
    content_hash: str = ""
    source_state: SourceState = field(default_factory=SourceState)
    rows: int = 0
    is_sample: bool = False
    step_id: str = ""
    """Of the run; empty where an earlier version loaded."""
    staged_at: datetime | None = None
    published_at: datetime | None = None

    @property
    def changed_months(self) -> frozenset[str]:
        """The invoice months whose totals this load changes."""
        keys = self.totals.keys() | self.previous.keys()
        return frozenset(
            key.invoice_month for key in keys if self.totals.get(key) != self.previous.get(key)
        )
