"""Tell a tenant's people that a step with `on_failure: alert` has failed. Never fails the run."""

from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.model.run import Run, StepRun
from convergence.outside.logs import Log
from convergence.outside.notify import Mail
from convergence.store import tenants

log = Log(__name__)


def step_failed(service: Service, run: Run, step: StepRun) -> None:
    """Mail the tenant's admin what failed, why, and where to look."""
    with service.database.read() as tx:
        admin = tenants.get(tx, run.tenant_id).admin_email
    mail = Mail(
        to=(admin,),
        subject=f"[ALERT] {run.pipeline_id}: step {step.step_id} failed",
        text=(
            f"Tenant: {run.tenant_id}\nPipeline: {run.pipeline_id}\nDate: {run.run_date}\n"
            f"Run: {run.run_id}\nStep: {step.step_id} ({step.ps_type})\n\n{step.error}\n\n"
            f"Look: cdp runs show {run.run_id} --tenant {run.tenant_id}\n"
        ),
    )
    try:
        report = service.mailer.send(mail, always_allowed=frozenset({admin}))
    except CdpError as error:
        log.warning("alert not sent", run_id=run.run_id, error=error.detail)
        return
    log.info("alert sent", run_id=run.run_id, sent_to=", ".join(report.sent_to))
