"""A source: a billing export that tenants may read, and how much of it."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from convergence.errors import Invalid

TABLE = re.compile(
    r"[A-Za-z][A-Za-z0-9_-]{0,62}\.[A-Za-z0-9_]{1,200}\.[A-Za-z0-9_][A-Za-z0-9_-]{0,200}(_\*)?"
)


NO_ACCOUNT = "none"
"""In a grant: of no account. The source may be gone; what was loaded from it is to be taken out."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedSource:
    """A source as one tenant sees it: what a step may read, narrowing included."""

    table: str
    files: str | None
    kind: Kind
    billing_account_ids: tuple[str, ...] = ()
    project_ids: tuple[str, ...] = ()

    @property
    def shows_nothing(self) -> bool:
        """Whether the tenant sees none of it by right: then it need not be there."""
        return set(self.billing_account_ids) == {NO_ACCOUNT}

    @property
    def narrowing(self) -> str:
        """How much of the source the tenant sees, as one text; empty for all of it."""
        named = {
            "billing_account_ids": sorted(self.billing_account_ids),
            "project_ids": sorted(self.project_ids),
        }
        limits = {name: ids for name, ids in named.items() if ids}
        return json.dumps(limits, sort_keys=True) if limits else ""


def kind_of(source: GrantedSource, columns: Collection[str]) -> Kind:
    """What the columns say, or the name while none is known. A member of a record is `a.b`."""
    if source.kind is not Kind.AUTO:
        return source.kind
    if columns:
        if "BilledCost" in columns:
            return Kind.FOCUS
        detailed = any(name.split(".")[0] == "resource" for name in columns)
        return Kind.GCP_DETAILED if detailed else Kind.GCP_STANDARD
    table = source.table.rpartition(".")[2].lower()
    if "focus" in table:
        return Kind.FOCUS
    return Kind.GCP_DETAILED if "_resource_" in table else Kind.GCP_STANDARD


def check_kind(source: GrantedSource, kind: Kind) -> None:
    """Raise Invalid for a source whose rows have no canonical shape here."""
    if kind not in GCP_KINDS:
        raise Invalid(
            f"source {source.table} is a {kind} export, which SQL cannot read here",
            code="source_kind_unsupported",
            hint="name a GCP billing export, standard or detailed",
        )


def check_table(text: str) -> str:
    """Give the name of a source back, or raise Invalid."""
    if not TABLE.fullmatch(text):
        raise Invalid(
            f"{text[:80]!r} does not name a table",
            code="invalid_table",
            hint="project.dataset.table; the table may end in _*",
        )
    return text
