"""A source: a billing export that tenants may read, and how much of it."""

import json
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an export is. AUTO is recognised by its columns, or by its name while it is empty."""

    AUTO = "auto"
    GCP_STANDARD = "gcp_standard"
    GCP_DETAILED = "gcp_detailed"
    FOCUS = "focus"


GCP_KINDS = frozenset({Kind.GCP_STANDARD, Kind.GCP_DETAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A tenant's right to a source; empty tuples mean all of it."""

    tenant_id: str
    billing_account_ids: tuple[str, ...] = ()
    project_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`table` is `project.dataset.table` (the table may end in `_*`); `files` a glob or None."""

    table: str
    files: str | None
    kind: Kind
    grants: tuple[Grant, ...] = ()

    def grant_of(self, tenant_id: str) -> Grant | None:
        return next((grant for grant in self.grants if grant.tenant_id == tenant_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedSource:
    """A source as one tenant sees it: what a step may read, narrowing included."""

    table: str
    files: str | None
    kind: Kind
    billing_account_ids: tuple[str, ...] = ()
    project_ids: tuple[str, ...] = ()

    @property
    def narrowing(self) -> str:
        """How much of the source the tenant sees, as one text; empty for all of it."""
        named = {
            "billing_account_ids": sorted(self.billing_account_ids),
            "project_ids": sorted(self.project_ids),
        }
        limits = {name: ids for name, ids in named.items() if ids}
        return json.dumps(limits, sort_keys=True) if limits else ""
