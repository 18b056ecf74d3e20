"""$CDP_HOME: one folder for the state, and at most one process at a time that works in it."""

import fcntl
import json
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from errno import EACCES
from pathlib import Path
from types import TracebackType
from typing import Self

from convergence.errors import Conflict, Unavailable
from convergence.outside.clock import Clock, SystemClock

SIZE = 1024
"""Bytes of the lock file: always written whole, in one call, so that nobody reads half of it."""
PAUSE = 0.05
MANIFEST = "manifest.json"
"""In a folder that is a backup."""
RESTORING = "restoring"
"""In a home that a backup is being put into."""
MIN_TRIES = 5
"""A reader of `holder` has the lock for a moment; so one refusal does not mean a busy home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that has the home. `url` is "" until its server listens; the time is UTC."""

    pid: int
    url: str
    started_at: str


class HomeLock:
    """The hold on a home: until `release`, or until the process ends in whatever way."""

    def __init__(self, descriptor: int, holder: Holder) -> None:
        self._descriptor = descriptor
        self._holder = holder
        self._write()

    def announce(self, url: str) -> None:
        """Tell other commands on this home where the server listens."""
        self._holder = replace(self._holder, url=url)
        self._write()

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _write(self) -> None:
        content = json.dumps(asdict(self._holder)).encode()
        os.pwrite(self._descriptor, content.ljust(SIZE), 0)


class Home:
    """The folder of $CDP_HOME. Nothing is made before `ensure`."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self.path = path.absolute()
        self._clock = clock or SystemClock()

    def ensure(self, folder: str = "") -> Path:
        """Make the home, or a folder in it, with mode 0700. Raises Unavailable if not writable."""
        path = self.path / folder
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(EACCES, "no permission to write in it")
        except OSError as error:
            raise _unusable(path, error) from error
        return path

    @property
    def identity(self) -> str | None:
        """What `identify` gave this home; None when it never did. A backup keeps it."""
        path = self.path / "identity"
        return path.read_text("utf-8").strip() if path.exists() else None

    def identify(self, name: str) -> None:
        """Give the home a name for ever, unless it has one. The caller holds the lock."""
        if self.identity is None:
            (self.path / "identity").write_text(f"{name}\n", "utf-8")

    def check_usable(self) -> None:
        """Raise Conflict for a backup, since whoever works in it changes what its manifest tells,
        and for a home that is not whole.
        """
        if (self.path / RESTORING).exists():
            raise Conflict(
                f"a restore into {self.path} was cut off",
                code="home_not_whole",
                hint="delete this folder and restore the backup again",
            )
        if (self.path / MANIFEST).exists():
            raise Conflict(
                f"{self.path} is a backup, not a home",
                code="home_is_backup",
                hint=f"to look into it: cdp db restore {self.path} --home NEW, an empty folder",
            )

    def lock(self, wait_seconds: float = 0) -> HomeLock:
        """Take the home. Raises Conflict (home_busy) when another still has it after the wait, and
        for a backup.
        """
        self.check_usable()
        path = self.path / "lock"
        try:
            with ExitStack() as undo:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                undo.callback(os.close, descriptor)
                self._wait(descriptor, wait_seconds)
                started_at = self._clock.now().isoformat(timespec="seconds")
                held = HomeLock(descriptor, Holder(pid=os.getpid(), url="", started_at=started_at))
                undo.pop_all()
                return held
        except OSError as error:
            raise _unusable(path, error) from error

    def holder(self) -> Holder | None:
        """Who has the home at this moment; None when nobody has it."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _flock(descriptor, fcntl.LOCK_SH) else _read(descriptor)
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int, seconds: float) -> None:
        for _ in range(max(MIN_TRIES, round(seconds / PAUSE))):
            if _flock(descriptor, fcntl.LOCK_EX):
                return
            time.sleep(PAUSE)
        raise self._busy()

    def _busy(self) -> Conflict:
        holder = self.holder()
        who = f"process {holder.pid}, since {holder.started_at}" if holder else "another process"
        where = f" at {holder.url}" if holder and holder.url else ""
        return Conflict(
            f"the home {self.path} is in use by {who}{where}",
            code="home_busy",
            hint="stop it, or choose another folder with CDP_HOME: several processes on one "
            "PostgreSQL have a home each",
        )


def _unusable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot use {path}: {error.strerror or error}",
        code="home_unusable",
        hint="make it writable for this user, or choose another folder with CDP_HOME",
    )


def _flock(descriptor: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def _read(descriptor: int) -> Holder | None:
    """Who wrote the lock file; None in the instant between taking the lock and writing it."""
    try:
        return Holder(**json.loads(os.pread(descriptor, SIZE, 0)))
    except (ValueError, TypeError):
        return None
