"""An instance of DuckDB that can reach some folders and nothing else of the machine."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import duckdb
from sqlglot import exp

from convergence.errors import WarehouseError

_PREFIX = "cdp-files-"


@contextmanager
def alone(
    folders: tuple[Path, ...], *, memory_limit: str = "256MB", threads: int = 1
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """An instance without any dataset that sees `folders` alone, and the folder it may write to."""
    with _scratch() as scratch:
        connection = duckdb.connect(config={"async_threads": 1})
        try:
            lock_down(
                connection,
                folders=(*folders, scratch),
                scratch=scratch,
                memory_limit=memory_limit,
                threads=threads,
            )
            yield connection, scratch
        finally:
            connection.close()


@contextmanager
def _scratch() -> Iterator[Path]:
    """A new folder, which is locked for as long as it is there."""
    _clear_left()
    try:
        made = Path(mkdtemp(prefix="cdp-making-")).resolve()
        lock = _locked(made)
        path = made.rename(made.with_name(f"{_PREFIX}{made.name.removeprefix('cdp-making-')}"))
    except OSError as error:
        raise WarehouseError(
            f"no folder can be made in {gettempdir()}: {error.strerror}",
            code="warehouse_not_writable",
            hint="free space there, or name another place by TMPDIR",
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


@cache
def _clear_left() -> None:
    """Once in a process: remove the folders of processes that were killed. A lock ends with who
    held it, and tells so in other containers, too.
    """
    for path in Path(gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = _locked(path)
        except OSError:
            continue  # it is in use, or another user's
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path) -> int:
    """Raises OSError for one that another process has, and for what is no folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def lock_down(
    connection: duckdb.DuckDBPyConnection,
    *,
    folders: tuple[Path, ...],
    scratch: Path,
    memory_limit: str,
    threads: int,
) -> None:
    """Leave the instance `folders` and nothing else of the machine, for good; read it back.

    Raises WarehouseError when DuckDB says another thing than it was told.
    """
    directories = ", ".join(literal(folder) for folder in folders)
    for setting, value in (
        ("GLOBAL TimeZone", "'UTC'"),
        ("GLOBAL ieee_floating_point_ops", "false"),
        ("GLOBAL preserve_insertion_order", "false"),
        ("threads", str(threads)),
        ("memory_limit", literal(memory_limit)),
        ("temp_directory", literal(scratch)),
        ("max_temp_directory_size", literal("16GB")),
        ("allowed_directories", f"[{directories}]"),
        ("autoinstall_known_extensions", "false"),
        ("autoload_known_extensions", "false"),
        ("python_enable_replacements", "false"),
        ("enable_external_access", "false"),
        ("lock_configuration", "true"),
    ):
        connection.execute(f"SET {setting} = {value}")
    found = dict(
        connection.execute(
            "SELECT name, value FROM duckdb_settings() WHERE list_contains(?, name)",
            [list(_PROVEN)],
        ).fetchall()
    )
    if found != _PROVEN:
        raise WarehouseError(
            f"DuckDB is not locked down: {found}",
            code="warehouse_not_locked",
            hint="this version of DuckDB is not the one the service was built for: cdp doctor",
        )


_PROVEN = {
    "enable_external_access": "false",
    "lock_configuration": "true",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "ieee_floating_point_ops": "false",
    "TimeZone": "UTC",
}


def literal(value: object) -> str:
    """The value as a text of DuckDB's SQL."""
    return exp.Literal.string(str(value)).sql("duckdb")
