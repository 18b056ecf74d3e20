"""A backup that was made, on the wire."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convergence.api.wire.shape import Out

if TYPE_CHECKING:
    from convergence.engine.backup import Kept


class KeptOut(Out):
    """A file of a backup, by its path in the home; `error` says why it could not be copied."""

    path: str
    size: int
    sha256: str
    error: str


class BackupOut(Out):
    """`folder` is on the machine that made it; `complete` when no file has an error."""

    folder: str
    complete: bool
    files: list[KeptOut]


def backup_out(folder: Path, kept: Sequence["Kept"]) -> BackupOut:
    return BackupOut(
        folder=str(folder),
        complete=not any(each.error for each in kept),
        files=[KeptOut.model_validate(each) for each in kept],
    )
