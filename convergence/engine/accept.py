"""What a load must be before it is published: each refusal says what was seen and what to do.

For `load`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from convergence.engine.quality import Proven
from convergence.errors import StepFailed
from convergence.model.event import rows_in_words
from convergence.model.load import NO_SOURCE, Load, LoadKey
from convergence.model.money import differences
from convergence.model.restatement import Change, money
from convergence.warehouse.bad_rows import SHOWN
from convergence.warehouse.staged import StagedTotals, StageRequest

ROWS_LOST = "rows_lost"
"""A fact of the line in the log that tells of files which have shrunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrunkFile:
    """A file of which more rows of a day were published than it holds now."""

    path: str
    day: date
    rows_before: int
    rows: int

    @property
    def sentence(self) -> str:
        return f"{self.path}: {rows_in_words(self.rows_before)} of {self.day}, now {self.rows}"

    def to_json(self) -> dict[str, str | int]:
        return asdict(self) | {"day": self.day.isoformat()}


def check(proven: Proven, *, allow_shrink: bool) -> None:
    """Raises StepFailed. What a tenant may not see any more may be gone from the source, too."""
    key, totals, before = proven.request.key, proven.totals, proven.before
    is_hidden = _is_hidden(proven.request)
    if not is_hidden:
        _check_present(key, totals)
    if proven.is_sample:
        return _check_sample(before)
    _check_equal(key, totals)
    if before is not None and not (allow_shrink or is_hidden):
        _check_shrunk(key, totals, before)
        _check_older(key, totals, before)
    return None


def shrunk(proven: Proven) -> list[ShrunkFile]:
    """Files that hold fewer rows of the day than were published of them, where the day has fewer;
    none where the tenant may see less of it now.

    It is no refusal: a file that was written again may well be right. One that is still being
    written looks the same.
    """
    totals, before = proven.totals, proven.before
    if before is None or before.is_sample or before.rows <= totals.rows:
        return []
    state, old = totals.state, before.source_state
    if old.is_elsewhere or state.narrowing != old.narrowing:
        return []
    now, day = {file.path: file.rows for file in state.files}, proven.request.key.day
    return [
        ShrunkFile(path=file.path, day=day, rows_before=file.rows, rows=now.get(file.path, 0))
        for file in old.files
        if file.rows > now.get(file.path, 0)
    ]


def doubts(request: StageRequest, totals: StagedTotals) -> Iterator[str]:
    """What of the files may be meant, and may be not. Of a survey's files, columns that they lack
    and files that are alike are told by itself.
    """
    for one, other in totals.state.copies if request.surveyed is None else ():
        yield f"{other} has the very bytes of {one}: if it is a copy, its rows count twice"
    for file in totals.state.files:
        if file.lacking:
            yield (
                f"{file.path} without {', '.join(file.lacking)}, which most files of "
                f"{request.key.source} "
                "have: NULL in the bill"
            )


def _is_hidden(request: StageRequest) -> bool:
    sources = request.scope.sources
    return any(each.table == request.key.source and each.shows_nothing for each in sources)


def _check_sample(published: Load | None) -> None:
    if published is not None and published.rows and not published.is_sample:
        raise StepFailed(
            f"a sample would replace the {published.rows} rows of the full load "
            f"{published.load_id}",
            code="sample_over_full",
            hint="leave `limit` out, or load the sample into another table",
        )


def _check_present(key: LoadKey, totals: StagedTotals) -> None:
    if key.source != NO_SOURCE and not totals.matched:
        raise StepFailed(
            f"{key.source}: no file matches the source",
            code="source_missing",
            hint="check the glob: cdp sources ls; has the export arrived?",
        )


def _check_equal(key: LoadKey, totals: StagedTotals) -> None:
    if totals.source is None:
        return
    if problems := differences(totals.loaded, totals.source):
        raise StepFailed(
            f"{key.table} {key.day}: totals differ from the source: {'; '.join(problems)}",
            code="totals_differ",
            hint="does the query filter, join or limit? The old rows are still in place",
        )


def _check_shrunk(key: LoadKey, totals: StagedTotals, published: Load) -> None:
    """Rows that were published do not vanish silently: not the day's last, nor a file's. Those
    that the tenant may not see any more do.
    """
    is_seen_alike = totals.state.narrowing == published.source_state.narrowing
    vanished = [
        f"{file.path} ({rows_in_words(file.rows)} of {key.day})"
        for file in published.source_state.files
        if file.rows and file.path not in totals.matched and not published.source_state.is_elsewhere
    ]
    if totals.rows == 0 and published.rows and is_seen_alike:
        files = [f"{file.path} ({file.rows})" for file in published.source_state.files if file.rows]
        what = f"holds no rows of {key.day} now; {published.rows:,} were published"
        what += f" from {_listed(files)}" if files else ""
    elif vanished and totals.content_hash != published.content_hash:
        what = f"has lost {_listed(vanished)}"
    else:
        return
    raise StepFailed(
        f"{key.source} {what}{_losses(totals.changes)}",
        code="source_shrank",
        hint="put the files back, or accept the loss with allow_shrink (--allow-shrink)",
    )


def _listed(files: Sequence[str]) -> str:
    more = f" and {len(files) - SHOWN} more files" if len(files) > SHOWN else ""
    return f"{', '.join(files[:SHOWN])}{more}"


def _losses(changes: Sequence[Change]) -> str:
    """What would be gone of the bill, the most rows first."""
    lost = sorted((c for c in changes if c.removed), key=lambda change: -change.removed)
    told = [
        f"service {c.service_id or '-'}, project {c.project_id or '-'}: "
        f"{rows_in_words(c.old.rows)} of {money(c.old.net)} {c.currency}, "
        f"now {c.new.rows} of {money(c.new.net)}"
        for c in lost[:SHOWN]
    ]
    more = f"; and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return f"; lost would be {'; '.join(told)}{more}" if told else ""


def _check_older(key: LoadKey, totals: StagedTotals, published: Load) -> None:
    if totals.state.is_older_than(published.source_state):
        raise StepFailed(
            f"{key.source} on {key.day} is older than what load {published.load_id} published",
            code="source_older",
            hint="run it again; if old files were put back on purpose: allow_shrink",
        )
