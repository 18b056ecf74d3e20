"""Backups: made by the process that has the home and its files, beside all else that it does."""

from fastapi import APIRouter

from convergence.api import wire
from convergence.api.auth import Operator
from convergence.engine.backup import backup_at_home

router = APIRouter(prefix="/api/v1/backups", tags=["backups"])


@router.post("", status_code=201, operation_id="make_backup")
def make_backup(door: Operator) -> wire.BackupOut:
    """Copy store, tenants' files, pepper and key into a new folder of the home; answers when it is
    whole. A tenant's file that could not be copied has an `error`.
    """
    return wire.backup_out(*backup_at_home(door.service))
