"""The log's file: whole lines, rotated, shared by the processes of one home; never an exception."""

import fcntl
import logging
import os
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from typing_extensions import override

FILE_BYTES = 10_000_000
OLD_FILES = 5
BUFFER = 1 << 20
"""More than any line has, so that a line is written whole, by one call."""


class LogFile(RotatingFileHandler):
    """Rotates at 10 MB, keeps five old files, mode 0600; several processes may share it."""

    lost = 0

    def __init__(self, path: Path, *, size: int = FILE_BYTES, old_files: int = OLD_FILES) -> None:
        super().__init__(path, maxBytes=size, backupCount=old_files, encoding="ascii", delay=True)

    @override
    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        binary = os.fdopen(os.open(path, flags, 0o600), "ab", BUFFER)
        return TextIOWrapper(binary, encoding="ascii", errors="backslashreplace")

    @override
    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """True when the file is full. Opens it anew when another process has rotated it."""
        if self.stream is None or not self._is_current():
            self._drop()
            self.stream = self._open()
        return os.fstat(self.stream.fileno()).st_size >= self.maxBytes

    @override
    def doRollover(self) -> None:
        folder = os.open(Path(self.baseFilename).parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if self._is_current():
                super().doRollover()
            else:
                self._drop()
        finally:
            os.close(folder)

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1
        self._drop()

    def _is_current(self) -> bool:
        if self.stream is None:
            return False
        try:
            there = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.stream.fileno()))

    def _drop(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()
