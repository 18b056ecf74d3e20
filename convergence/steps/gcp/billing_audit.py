"""`gcp.billing_audit`: read a whole month of an export again, and load what differs from it."""

from calendar import monthrange
from typing import ClassVar

from convergence.steps.base import Report, Settings, StepContext
from convergence.steps.gcp.billing_sync import BillingSyncSettings, Sync


class BillingAudit:
    """For what no file tells: rows changed in the warehouse, or a file system without `ctime`."""

    settings: ClassVar[type[Settings]] = BillingSyncSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = (("source", "query"), ("quality",))

    def run(self, settings: BillingSyncSettings, context: StepContext) -> Report:
        """Every usage day of the month of the run's date; equal days are left alone."""
        first = context.run_date.replace(day=1)
        last = first.replace(day=monthrange(first.year, first.month)[1])
        sync = Sync.of(settings, context, afresh=(first, last))
        held = {day for unit in sync.survey.seen.values() for day in unit.dates}
        published = context.watch.published_days(sync.schema.name, sync.survey.source, first, last)
        days = {day for day in held if first <= day <= last} | published
        return sync.load(sorted(days), only_stale=False)
