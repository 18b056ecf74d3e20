"""What was seen of each source, what was restated, and when each invoice month last changed."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from convergence.store.column_types import FreeText, UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _watermarks()
    _units()
    _restatements()
    _months()


def _tenant(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id"], ["tenant_profiles.tenant_id"], name=f"fk_{table}_tenant_id"
    )


def _of_source() -> list[sa.Column[Any]]:
    return [_required(name) for name in ("tenant_id", "table_name", "source")]


def _required(name: str, type_: sa.types.TypeEngine[Any] | None = None) -> sa.Column[Any]:
    return sa.Column(name, type_ or sa.String(), nullable=False)


def _watermarks() -> None:
    op.create_table(
        "source_watermarks",
        *_of_source(),
        _required("narrowing", FreeText()),
        sa.Column("watermark", UtcDateTime()),
        _required("synced_at", UtcDateTime()),
        _required("run_id"),
        sa.PrimaryKeyConstraint("tenant_id", "table_name", "source", name="pk_source_watermarks"),
        _tenant("source_watermarks"),
    )


def _units() -> None:
    op.create_table(
        "source_units",
        *_of_source(),
        _required("path", FreeText()),
        _required("size", sa.BigInteger()),
        _required("mtime_ns", sa.BigInteger()),
        _required("content_hash"),
        _required("columns", sa.JSON()),
        _required("accounts", sa.JSON()),
        _required("seen_at", UtcDateTime()),
        sa.PrimaryKeyConstraint(
            "tenant_id", "table_name", "source", "path", name="pk_source_units"
        ),
        _tenant("source_units"),
    )
    op.create_table(
        "source_unit_days",
        *_of_source(),
        _required("path", FreeText()),
        _required("day", sa.Date()),
        _required("row_count", sa.BigInteger()),
        _required("totals", sa.JSON()),
        sa.Column("max_export_time", UtcDateTime()),
        sa.PrimaryKeyConstraint(
            "tenant_id", "table_name", "source", "path", "day", name="pk_source_unit_days"
        ),
        _tenant("source_unit_days"),
    )


def _restatements() -> None:
    op.create_table(
        "restatements",
        _required("load_id"),
        _required("position", sa.Integer()),
        _required("tenant_id"),
        _required("table_name"),
        _required("source"),
        _required("usage_date", sa.Date()),
        *(
            _required(name, FreeText())
            for name in ("invoice_month", "service_id", "project_id", "currency")
        ),
        _required("old_rows", sa.BigInteger()),
        _required("new_rows", sa.BigInteger()),
        *(_required(name) for name in ("old_cost", "old_credits", "new_cost", "new_credits")),
        *(_required(name) for name in ("reason", "run_id", "old_run_id")),
        sa.Column("recorded_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("load_id", "position", name="pk_restatements"),
        sa.ForeignKeyConstraint(["load_id"], ["loads.load_id"], name="fk_restatements_load_id"),
        _tenant("restatements"),
    )
    op.create_index(
        "ix_restatements_tenant_id_recorded_at_load_id_position",
        "restatements",
        ["tenant_id", "recorded_at", "load_id", "position"],
    )


def _months() -> None:
    op.create_table(
        "invoice_months",
        _required("tenant_id"),
        _required("table_name"),
        _required("invoice_month", FreeText()),
        _required("changed_at", UtcDateTime()),
        _required("run_id"),
        sa.PrimaryKeyConstraint(
            "tenant_id", "table_name", "invoice_month", name="pk_invoice_months"
        ),
        _tenant("invoice_months"),
    )
