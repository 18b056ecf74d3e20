"""Locked-down DuckDB instances, one per dataset file, in an LRU that closes only idle ones."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Condition

import duckdb
from sqlglot import exp

from convergence.errors import CdpError, Invalid, NotFound, StepInterrupted, WarehouseError
from convergence.warehouse.files.instance import literal, lock_down
from convergence.warehouse.files.shapes import first_line

Folders = Callable[[str], tuple[Path, ...]]

Check = Callable[[], object]
"""Raises when a wait shall end."""

REOPEN_SECONDS = 60.0
PAUSE_SECONDS = 0.2
_DATASET = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
_LOCKED = re.compile(r"lock on file|Unique file handle conflict", re.IGNORECASE)
_FATAL = re.compile(r"FATAL|has been invalidated|INTERNAL Error", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class _Slot:
    """The place of one dataset: its instance while that is open, and who uses it."""

    dataset: str
    connection: duckdb.DuckDBPyConnection | None = None
    folders: tuple[Path, ...] = ()
    users: int = 0
    is_broken: bool = False
    last_use: int = 0
    changed: Condition = field(default_factory=Condition)


class Instances:
    """Opens datasets' files on demand and lends cursors; at most `max_open` stay open idle."""

    def __init__(
        self, home: Path, folders: Folders, *, memory_limit: str, threads: int, max_open: int
    ) -> None:
        self.root = home.resolve() / "warehouse"
        self._folders = folders
        self._memory_limit = memory_limit
        self._threads = threads
        self._max_open = max_open
        self._slots: dict[str, _Slot] = {}
        self._uses = count(1)

    def path(self, dataset: str) -> Path:
        """The dataset's file, which need not exist. Raises Invalid."""
        if not _DATASET.fullmatch(dataset):
            raise Invalid(f"{dataset[:60]!r} is not a name of a dataset", code="invalid_dataset")
        return self.root / f"{dataset}.duckdb"

    def scratch(self, dataset: str) -> Path:
        """The folder that the dataset's instance may write files to; emptied when it is opened."""
        return self.root / ".scratch" / dataset

    def exists(self, dataset: str) -> bool:
        return self.path(dataset).is_file()

    @contextmanager
    def lend(
        self,
        dataset: str,
        *,
        with_sources: bool = False,
        create: bool = False,
        check: Check | None = None,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in the dataset's instance.

        `with_sources`: when the tenant's source folders have changed, the instance is reopened
        first, as soon as nobody uses it; `check` may end that wait by raising, without it the
        wait is short. Raises NotFound, StepInterrupted, WarehouseError.
        """
        slot = self._slots.setdefault(dataset, _Slot(dataset))
        cursor = self._take(slot, with_sources=with_sources, create=create, check=check)
        try:
            yield cursor
        except (duckdb.Error, CdpError) as error:
            self.note(dataset, error)
            raise
        finally:
            cursor.close()
            self._give_back(slot)

    def note(self, dataset: str, error: Exception) -> None:
        """After an error that breaks an instance for good, the next use opens a fresh one."""
        cause = error.__cause__ if isinstance(error, CdpError) else error
        if isinstance(cause, duckdb.Error) and _FATAL.search(str(cause)):
            self._slots[dataset].is_broken = True

    def drop(self, dataset: str) -> None:
        """Close the instance and delete its file. Raises StepInterrupted while it is in use."""
        path = self.path(dataset)
        slot = self._slots.setdefault(dataset, _Slot(dataset))
        with slot.changed:
            _wait_idle(slot)
            _shut(slot)
            for file in (path, _wal(path)):
                file.unlink(missing_ok=True)
            shutil.rmtree(self.scratch(dataset), ignore_errors=True)

    def copy(self, dataset: str, target: Path) -> None:
        """Copy the file when nobody uses it. It is closed before: whoever opens it beside DuckDB,
        in this process, ends DuckDB's hold on it.
        """
        with self.lend(dataset) as cursor:
            cursor.execute(f"CHECKPOINT {_name(dataset)}")
        slot = self._slots[dataset]
        with slot.changed:
            _wait_idle(slot)
            _shut(slot)
            shutil.copyfile(self.path(dataset), target)

    def close(self) -> None:
        """Close all instances, those in use too."""
        for slot in list(self._slots.values()):
            with slot.changed:
                _shut(slot)

    def open_datasets(self) -> list[str]:
        """The datasets whose files are held now, by name."""
        return sorted(slot.dataset for slot in list(self._slots.values()) if slot.connection)

    def size(self, dataset: str) -> int:
        """Bytes on disk, the write-ahead log included."""
        path = self.path(dataset)
        return sum(file.stat().st_size for file in (path, _wal(path)) if file.exists())

    def _take(
        self, slot: _Slot, *, with_sources: bool, create: bool, check: Check | None
    ) -> duckdb.DuckDBPyConnection:
        needed = self._folders(slot.dataset) if with_sources else None
        with slot.changed:
            stale = needed is not None and tuple(needed) != slot.folders
            is_gone = not self.path(slot.dataset).is_file()
            if slot.connection is not None and (slot.is_broken or stale or is_gone):
                _wait_idle(slot, check)
                _shut(slot)
            if slot.connection is None:
                slot.folders = self._folders(slot.dataset) if needed is None else tuple(needed)
                slot.connection = self._open(slot.dataset, slot.folders, create=create)
            slot.users += 1
            slot.last_use = next(self._uses)
            return slot.connection.cursor()

    def _give_back(self, slot: _Slot) -> None:
        with slot.changed:
            slot.users -= 1
            slot.changed.notify_all()
        self._close_idle()

    def _close_idle(self) -> None:
        held = [slot for slot in list(self._slots.values()) if slot.connection is not None]
        excess = len(held) - self._max_open
        for slot in sorted(held, key=lambda slot: slot.last_use):
            if excess > 0 and slot.changed.acquire(blocking=False):
                try:
                    if slot.users == 0:
                        _shut(slot)
                        excess -= 1
                finally:
                    slot.changed.release()

    def _make_folders(self, dataset: str) -> Path:
        """That of the files, and the dataset's own to write to, empty. Raises WarehouseError."""
        scratch = self.scratch(dataset)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise WarehouseError(
                f"no folder can be made in {self.root}: {error.strerror}",
                code="warehouse_not_writable",
                hint="give this user the right to write there, and free space",
            ) from error
        return scratch

    def _open(
        self, dataset: str, folders: tuple[Path, ...], *, create: bool
    ) -> duckdb.DuckDBPyConnection:
        path = self.path(dataset)
        if not create and not path.is_file():
            raise NotFound(
                f"There is no dataset {dataset}: {path} is not there",
                code="dataset_not_found",
                hint="restore it from a backup; or make it empty (cdp db migrate) and load its "
                "days again (cdp backfill)",
            )
        scratch = self._make_folders(dataset)
        connection = duckdb.connect(config={"async_threads": 1})
        try:
            connection.execute(
                f"ATTACH {literal(path)} AS {_name(dataset)} (STORAGE_VERSION 'v1.5.0')"
            )
            lock_down(
                connection,
                folders=(*folders, scratch),
                scratch=scratch,
                memory_limit=self._memory_limit,
                threads=self._threads,
            )
        except duckdb.Error as error:
            connection.close()
            raise _cannot_open(path, error) from error
        return connection


def _wait_idle(slot: _Slot, check: Check | None = None) -> None:
    while check is not None and slot.users:
        check()
        slot.changed.wait(PAUSE_SECONDS)
    if not slot.changed.wait_for(lambda: slot.users == 0, timeout=REOPEN_SECONDS):
        raise StepInterrupted(
            f"dataset {slot.dataset} stayed in use for {REOPEN_SECONDS:.0f} s",
            code="warehouse_busy",
            hint="try again when its running load has ended",
        )


def _shut(slot: _Slot) -> None:
    if slot.connection is not None:
        slot.connection.close()
    slot.connection = None
    slot.is_broken = False


def _cannot_open(path: Path, error: duckdb.Error) -> WarehouseError:
    if _LOCKED.search(str(error)):
        return WarehouseError(
            f"{path} is held by another process: {first_line(error)}",
            code="warehouse_locked",
            hint="stop the other process (a DuckDB shell? a second cdp on the same home?)",
        )
    return WarehouseError(
        f"{path} cannot be opened: {first_line(error)}",
        code="warehouse_damaged",
        hint="restore it from a backup; or move it away, make it empty (cdp db migrate) and load "
        "its days again (cdp backfill)",
    )


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _name(identifier: str) -> str:
    return exp.to_identifier(identifier, quoted=True).sql("duckdb")
