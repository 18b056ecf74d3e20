"""Tell a tenant's people what they should know. It never fails the run, nor holds it up."""

import threading

from convergence.engine.service import Service
from convergence.errors import CdpError
from convergence.model.run import Run, StepRun
from convergence.model.tenant import Limits, Tenant
from convergence.outside.logs import Log
from convergence.outside.notify import Mail
from convergence.store import tenants

log = Log(__name__)


def step_failed(service: Service, run: Run, step: StepRun) -> None:
    """A step with `on_failure: alert` has failed: what, why, and where to look."""
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
    _send(service, mail, run_id=run.run_id)


def quota_nearly_used(service: Service, tenant: Tenant, limits: Limits, *, used: int) -> None:
    """The day's runs have come to 80 % of what is granted. Sent beside the caller's work."""
    mail = Mail(
        to=(tenant.admin_email,),
        subject=f"[WARNING] {tenant.tenant_id}: {used} of {limits.daily_limit} runs of today used",
        text=(
            f"Tenant: {tenant.tenant_id}\nRuns of this day (UTC): {used}\n"
            f"Daily limit: {limits.daily_limit} ({tenant.plan})\n\n"
            f"Look: cdp quota show --tenant {tenant.tenant_id}\n"
        ),
    )
    threading.Thread(
        target=_send, args=(service, mail), kwargs={"tenant_id": tenant.tenant_id}, name="alert"
    ).start()


def _send(service: Service, mail: Mail, **about: str) -> None:
    try:
        report = service.mailer.send(mail, always_allowed=frozenset(mail.to))
    except CdpError as error:
        log.warning("alert not sent", error=error.detail, **about)
        return
    log.info("alert sent", sent_to=", ".join(report.sent_to), **about)
