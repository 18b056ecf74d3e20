"""A file whose reading ends when a token is tripped: for who reads it to its end in one call."""

from io import BufferedReader, RawIOBase
from typing import BinaryIO

from typing_extensions import Buffer, override

from convergence.model.cancel import CancelToken

PART = 1 << 20
"""Bytes between two looks at the token."""


def watched(file: BinaryIO, cancel: CancelToken) -> BufferedReader:
    """Reads as `file` does, which stays the caller's. Each read raises what the token says."""
    return BufferedReader(_Watched(file, cancel), PART)


class _Watched(RawIOBase):
    def __init__(self, file: BinaryIO, cancel: CancelToken) -> None:
        self._file = file
        self._cancel = cancel

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        self._cancel.check()
        view = memoryview(buffer)
        part = self._file.read(len(view))
        view[: len(part)] = part
        return len(part)

    @override
    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    @override
    def tell(self) -> int:
        return self._file.tell()
