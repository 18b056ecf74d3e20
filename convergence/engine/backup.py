"""A backup is a folder like a home: store, tenants' files, pepper, key; and a manifest of sums.

It is made under another name and renamed when it is whole. `restore` checks every sum first, and
writes into an empty home alone.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from convergence import __version__
from convergence.engine.agree import claim_for
from convergence.engine.service import Service
from convergence.errors import CdpError, Conflict, Invalid, NotFound, Unavailable
from convergence.model.tenant import WarehouseKind
from convergence.outside.home import MANIFEST, RESTORING, Home
from convergence.store import copy, fleet
from convergence.store.database import Database
from convergence.store.tables import REVISION
from convergence.warehouse.sql.names import CENTRAL_DATASET

STORE = "control.db"
SECRETS = ("pepper", "admin.key", "credentials.key", "identity")
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One file of a backup, by its path in the home; `error` where it could not be copied."""

    path: str
    size: int = 0
    sha256: str = ""
    error: str = ""


def backup(service: Service, folder: Path) -> list[Kept]:
    """Copy everything into a new folder. The caller holds the home, and may work in it meanwhile.

    The store is copied first, as of one moment; then each tenant's file, as of one that may be
    later. So the files may be ahead of the store, as they are after a crash, and are taken for
    that after a restore: a load that is in its file and STAGED in the store becomes PUBLISHED, a
    day that the store does not know of is loaded again.
    A tenant's file that is missing, damaged or long in use does not stop the others. Raises
    Conflict, CdpError.
    """
    folder = check_new(folder)
    part = _part(folder)
    shutil.rmtree(part, ignore_errors=True)
    (part / "warehouse").mkdir(mode=0o700, parents=True)
    try:
        kept = [_store(service, part), *_secrets(service, part), *_datasets(service, part)]
        _write_manifest(service, part, kept)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return kept


def backup_at_home(service: Service) -> tuple[Path, list[Kept]]:
    """The same into a new folder of the home; the folder, and what it holds."""
    folder = service.home.ensure("backups") / f"{service.clock.now():%Y%m%dT%H%M%SZ}"
    return folder, backup(service, folder)


def move(folder: Path, target: Path) -> None:
    """Put a backup elsewhere, on another disk too; there it is whole or not there.

    Raises Unavailable, and then it is where it was.
    """
    part = _part(target)
    try:
        shutil.rmtree(part, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, part)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise Unavailable(
            f"the backup is whole in {folder}, and cannot be put into {target}: {error}",
            code="backup_not_moved",
            hint="copy it by hand, as a user who may read the one and write the other",
        ) from error
    part.rename(target)


def check_new(folder: Path) -> Path:
    """Its whole path. Raises Conflict when something is there."""
    if folder.exists():
        raise Conflict(
            f"{folder} is there already", code="backup_exists", hint="name a folder that is not"
        )
    return folder.absolute()


def restore(folder: Path, home: Home, database_url: str | None) -> list[Kept]:
    """Put a backup into an empty home, and into PostgreSQL where `database_url` names one.

    The caller holds the home. Raises Invalid for a backup that is not whole, Conflict.
    """
    kept = _checked(folder)
    names = [
        each.path for each in kept if not each.error if database_url is None or each.path != STORE
    ]
    there = [name for name in names if (home.path / name).exists()]
    if there:
        raise Conflict(
            f"{home.path} is not empty: it has {', '.join(there[:5])}",
            code="home_not_empty",
            hint="choose another folder with CDP_HOME, or move this one away",
        )
    (home.path / RESTORING).touch()
    for name in sorted(names, key=lambda name: name == STORE):
        _copy(folder / name, home.path / name)
    if database_url is not None:
        _fill(folder / STORE, home, database_url)
    (home.path / RESTORING).unlink()
    return kept


def _part(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")


def _store(service: Service, part: Path) -> Kept:
    copy.write_copy(service.database, part / STORE)
    return _kept(part, STORE)


def _secrets(service: Service, part: Path) -> Iterator[Kept]:
    for name in SECRETS:
        if (service.home.path / name).exists():
            _copy(service.home.path / name, part / name)
            yield _kept(part, name)


def _datasets(service: Service, part: Path) -> Iterator[Kept]:
    with service.database.read() as tx:
        datasets = sorted(fleet.datasets(tx, WarehouseKind.DUCKDB))
    if service.config.warehouse is not WarehouseKind.DUCKDB:
        yield from (_left_out(dataset) for dataset in datasets)
        return
    for dataset in [*datasets, CENTRAL_DATASET]:
        name = f"warehouse/{dataset}.duckdb"
        try:
            service.warehouse.copy_dataset(dataset, part / name)
            yield _kept(part, name)
        except NotFound as gone:
            if dataset != CENTRAL_DATASET:
                yield Kept(path=name, error=gone.detail)
        except CdpError as error:
            yield Kept(path=name, error=error.detail)


def _left_out(dataset: str) -> Kept:
    why = "this process works with another warehouse: back up with CDP_WAREHOUSE=duckdb, too"
    return Kept(path=f"warehouse/{dataset}.duckdb", error=why)


def _kept(part: Path, name: str) -> Kept:
    path = part / name
    path.chmod(0o600)
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return Kept(path=name, size=path.stat().st_size, sha256=digest)


def _write_manifest(service: Service, part: Path, kept: list[Kept]) -> None:
    manifest = {
        "format": FORMAT,
        "created_at": service.clock.now().isoformat(),
        "version": __version__,
        "revision": REVISION,
        "files": {
            each.path: {"size": each.size, "sha256": each.sha256} for each in kept if not each.error
        },
        "missing": [each.path for each in kept if each.error],
    }
    (part / MANIFEST).write_text(f"{json.dumps(manifest, indent=2)}\n", "utf-8")


def _checked(folder: Path) -> list[Kept]:
    manifest = _manifest(folder)
    kept = []
    for name, said in manifest["files"].items():
        if not (folder / name).is_file():
            raise _broken(folder, f"{name} is missing")
        if _kept(folder, name).sha256 != said["sha256"]:
            raise _broken(folder, f"{name} is not the file that was backed up")
        kept.append(_kept(folder, name))
    missing = manifest.get("missing", ())
    lacking = [Kept(path=str(name), error="not in the backup") for name in missing]
    return [*kept, *lacking]


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        names = [str(name) for name in manifest["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(folder, f"{MANIFEST} cannot be read: {error}") from error
    root = folder.resolve()
    if any(not (root / name).resolve().is_relative_to(root) for name in names):
        raise _broken(folder, f"{MANIFEST} names files outside of it")
    if manifest.get("format") != FORMAT or manifest["revision"] > REVISION:
        raise _broken(folder, f"it was made by version {manifest.get('version')}, a newer one")
    return manifest


def _broken(folder: Path, why: str) -> Invalid:
    return Invalid(
        f"{folder} is no backup that can be restored: {why}",
        code="backup_broken",
        hint="take another backup; nothing was changed",
    )


def _fill(path: Path, home: Home, database_url: str) -> None:
    """From a copy of the file: opening it may migrate it. The files are in this home now."""
    scratch = home.path / f".{STORE}.part"
    _copy(path, scratch)
    database = Database(database_url)
    try:
        copy.read_copy(scratch, database)
        claim_for(home, database)
    finally:
        database.close()
        for name in (scratch.name, f"{scratch.name}-wal", f"{scratch.name}-shm"):
            (home.path / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all, readable by its user alone."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, part)
    part.chmod(0o600)
    part.rename(target)
