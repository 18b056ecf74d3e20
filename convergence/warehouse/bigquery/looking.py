"""How a source is looked at: for a plan, for a load, for a check of a load.

What a load reads of a source of files is brought over for it; a plan brings nothing, and a question
about files is answered where they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date
from uuid import uuid4

from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource
from convergence.warehouse import requested
from convergence.warehouse.bigquery import parts, sources
from convergence.warehouse.bigquery.access import Clients
from convergence.warehouse.bigquery.jobs import Jobs
from convergence.warehouse.bigquery.places import STAGED
from convergence.warehouse.bigquery.reading import Look
from convergence.warehouse.bigquery.sources import FilesRead, Sight
from convergence.warehouse.bigquery.uploads import Uploads
from convergence.warehouse.files.source_files import OpenFiles, SourceFiles
from convergence.warehouse.sql.names import Resolved, reads_files_alone
from convergence.warehouse.sql.statement import refused
from convergence.warehouse.staged import StageRequest


class Looking:
    """Each look raises StepFailed for a source that cannot be read, Invalid for its kind."""

    def __init__(
        self, clients: Clients, jobs: Jobs, *, files: SourceFiles, uploads: Uploads
    ) -> None:
        self._clients = clients
        self._jobs = jobs
        self._files = files
        self._uploads = uploads

    def for_plan(self, dataset: str, source: GrantedSource, day: date | None = None) -> Sight:
        """The source at this moment; of files no row is in it."""
        if source.files is None:
            return sources.look(self._clients, dataset, source, day)
        with self._files.opened(source, [day] if day else [], cancel=CancelToken()) as found:
            return _sight(found, source, day)

    @contextmanager
    def for_load(self, request: StageRequest, prefix: str, cancel: CancelToken) -> Iterator[Look]:
        """All is read as of one moment: that at which partitions were listed; files must be the
        same when their rows and their sums have been taken. `prefix` begins the names of what is
        brought over, which is dropped at the end.
        """
        day = parts.day_of(request)
        with ExitStack() as held:

            def look(source: GrantedSource) -> Sight:
                if source.files is None:
                    return self._of_tables(request, source, cancel)
                name = f"{prefix}files_{uuid4().hex[:12]}"
                held.callback(self._uploads.drop, request.dataset, name)
                where = f"{request.dataset}.{request.table}"
                with self._files.opened(
                    source, [day] if day else [], where=where, cancel=cancel
                ) as found:
                    exports = self._uploads.bring(found, request.dataset, name, cancel)
                    read = _proven(found, request)
                    found.check_unchanged()
                    return replace(_sight(found, source, day), exports=exports, read=read)

            yield look

    @contextmanager
    def for_check(self, dataset: str, cancel: CancelToken) -> Iterator[Look]:
        """The source at this moment, all days of it; what is brought over is dropped at the end."""
        with ExitStack() as held:

            def look(source: GrantedSource) -> Sight:
                if source.files is None:
                    return sources.look(self._clients, dataset, source)
                name = f"{STAGED}asked_{uuid4().hex[:12]}"
                held.callback(self._uploads.drop, dataset, name)
                with self._files.opened(source, [], cancel=cancel) as found:
                    exports = self._uploads.bring(found, dataset, name, cancel)
                    found.check_unchanged()
                    return replace(_sight(found, source, None), exports=exports)

            yield look

    def rows_without(
        self,
        request: StageRequest,
        source: GrantedSource,
        columns: Sequence[str],
        cancel: CancelToken,
    ) -> str:
        """Of a source of files: the rows of the load in which a column is NULL, file by file."""
        day = parts.day_of(request)
        with self._files.opened(source, [day] if day else [], cancel=cancel) as found:
            return found.rows_without(columns)

    def _of_tables(
        self, request: StageRequest, source: GrantedSource, cancel: CancelToken
    ) -> Sight:
        sight = sources.look(self._clients, request.dataset, source, parts.day_of(request))
        listed, moment = sources.units(self._jobs, request.dataset, sight, cancel)
        to_read = _to_read(request, listed)
        return replace(sight, moment=moment, units=to_read, listed=listed)


def _sight(found: OpenFiles, source: GrantedSource, day: date | None) -> Sight:
    listed = tuple(shape.state for shape in found.sight.shapes)
    return Sight(source=source, exports=(), day=day, listed=listed, read=_read(found))


def _read(found: OpenFiles) -> FilesRead:
    return FilesRead(files=tuple(shape.state for shape in found.sight.to_read))


def _proven(found: OpenFiles, request: StageRequest) -> FilesRead:
    if not requested.is_billing(request):
        return _read(found)
    sums = found.sums(request)
    return replace(_read(found), totals=sums.totals, state=sums.state)


def _to_read(request: StageRequest, listed: Sequence[FileState]) -> frozenset[str] | None:
    """The partitions to read: those that held the day when the source was surveyed, and those
    that are other now. None without a survey.
    """
    surveyed = request.surveyed
    if surveyed is None:
        return None
    held = {file.path for file in surveyed.state.files}
    return frozenset(
        unit.path for unit in listed if unit.path in held or unit not in surveyed.files
    )


def is_of_files(resolved: Resolved) -> bool:
    """Whether a statement is about files alone. Raises Invalid for one about tables as well."""
    if reads_files_alone(resolved):
        return True
    of_files = next((ref for ref in resolved.refs if ref.source and ref.source.files), None)
    if of_files is not None and of_files.source is not None:
        raise refused(
            f"{of_files.source.table} is files, and the statement reads tables beside it",
            hint="ask each by itself; the days that were loaded are in billing_cost_daily",
        )
    return False
