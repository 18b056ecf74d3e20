"""The names of a step: those that templates are checked by, no more and no fewer."""

from collections.abc import Callable
from datetime import date

from convergence.engine.names import built_ins, late_names
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.library import from_snapshot
from convergence.model.binding import BUILT_INS, LATE
from convergence.model.run import Run, Status
from convergence.steps.base import step_models


def test_a_step_has_every_name_that_a_template_may_use_and_no_other(
    service: Service, tenant: Onboarded, pend: Callable[..., Run]
) -> None:
    run = pend("step_id: a, ps_type: test.act")
    template = from_snapshot(run.template, run.snapshot, step_models(service.step_types))
    (step,) = template.steps
    known = built_ins(
        service, tenant.tenant, template, run_date=run.run_date, trigger_by=run.trigger_by
    )
    late = late_names(service, run, step, status=Status.FAILED, error="e")
    assert known.keys() == BUILT_INS - {"pipeline_id"}
    assert known.keys() | late.keys() == BUILT_INS | LATE
    assert late["date"] == late["run_date"] == date(2024, 11, 4)
