"""`quality.check`: check rows that are there, of any table of the tenant; a critical failure ends
the step.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from convergence.model.table import TableSchema
from convergence.steps.base import Inspection, Report, Settings, StepContext
from convergence.steps.checked import CheckedSettings
from convergence.warehouse.schemas import tenant_schemas

Table = Annotated[str, Field(min_length=1, max_length=300)]


class QualityCheckSettings(CheckedSettings):
    """`partition_by` is the column whose day is the run's date; empty: the whole table."""

    table: Table
    partition_by: Annotated[str, Field(max_length=300)] = "ingestion_date"

    @override
    def checked_schema(self) -> TableSchema | None:
        return tenant_schemas().get(self.table)


class QualityCheck:
    settings: ClassVar[type[Settings]] = QualityCheckSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = (("quality",),)

    def run(self, settings: QualityCheckSettings, context: StepContext) -> Report:
        return context.inspect(
            Inspection(
                table=settings.table,
                day=context.run_date,
                day_column=settings.partition_by,
                checks=settings.suite,
            )
        )
