"""The settings of steps that ask the warehouse. Apart from `base.py`, which every command loads."""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from convergence.model.check import MAX_CHECKS, Check
from convergence.model.table import TableSchema
from convergence.model.validation import findings_error
from convergence.steps.base import Settings
from convergence.warehouse.sql.quality_faults import find_faults
from convergence.warehouse.suites import load_suite


class CheckedSettings(Settings):
    """The keys of a step whose rows are checked: those of the table's own suite, and more."""

    quality: Annotated[tuple[Check, ...], Field(max_length=MAX_CHECKS)] = Field(
        default=(), description="Checks of the rows, beside those of the table's suite"
    )
    quality_suite: Literal["default", "none"] = Field(
        default="default", description="none: without the checks that the table has by itself"
    )
    maximum_bytes_billed: int | None = Field(
        default=None,
        ge=10_485_760,
        description="On BigQuery: bytes that one statement of the step may be billed for",
    )

    def checked_schema(self) -> TableSchema | None:
        """The shape of the table whose rows are checked, if it is said anywhere."""
        raise NotImplementedError

    def known_columns(self) -> TableSchema | None:
        """The same, or what else tells the names of its columns."""
        return self.checked_schema()

    @property
    def suite(self) -> tuple[Check, ...]:
        """All checks to make, the table's own first."""
        schema = self.checked_schema()
        is_default = self.quality_suite == "default" and schema is not None
        return (*(load_suite(schema.name) if schema and is_default else ()), *self.quality)

    @model_validator(mode="after")
    def _checks_fit(self) -> Self:
        found = find_faults(self.quality, self.known_columns())
        if found:
            raise findings_error([replace(each, path=("quality", *each.path)) for each in found])
        return self
