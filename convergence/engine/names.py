"""What `{name}` means: what is known when a run is admitted, and what only while it runs."""

from datetime import date

from convergence.engine.service import Service
from convergence.model.run import Run, Status
from convergence.model.template import Step, Template
from convergence.model.tenant import Tenant
from convergence.warehouse.question import Value


def built_ins(
    service: Service, tenant: Tenant, template: Template, *, run_date: date, trigger_by: str
) -> dict[str, str]:
    """The names of every pipeline, from its admission on."""
    return {
        "tenant_id": tenant.tenant_id,
        "company_name": tenant.company_name,
        "admin_email": tenant.admin_email,
        "dataset": tenant.dataset,
        "provider": template.provider,
        "domain": template.domain,
        "template_name": template.name,
        "date": run_date.isoformat(),
        "run_date": run_date.isoformat(),
        "trigger_by": trigger_by,
        "project_id": service.config.project,
        "gcp_project_id": service.config.project,
    }


def late_names(
    service: Service, run: Run, step: Step, *, status: Status, error: str
) -> dict[str, Value]:
    """The names that a step has besides; the date is a date, so that SQL can compare with it."""
    return {
        "pipeline_id": run.pipeline_id,
        "run_id": run.run_id,
        "pipeline_logging_id": run.run_id,
        "step_id": step.step_id,
        "status": str(status),
        "pipeline_status": str(status),
        "error_message": error,
        "execution_timestamp": service.clock.now().isoformat(timespec="seconds"),
        "date": run.run_date,
        "run_date": run.run_date,
    }
