"""The step types there are, by their `ps_type`."""

from collections.abc import Mapping
from types import MappingProxyType

from convergence.steps.base import StepType
from convergence.steps.gcp.billing_audit import BillingAudit
from convergence.steps.gcp.billing_sync import BillingSync
from convergence.steps.gcp.bq_etl import BqEtl
from convergence.steps.notify_systems.email_notification import EmailNotification
from convergence.steps.quality.check import QualityCheck

STEP_TYPES: Mapping[str, StepType] = MappingProxyType(
    {
        "gcp.billing_audit": BillingAudit(),
        "gcp.billing_sync": BillingSync(),
        "gcp.bq_etl": BqEtl(),
        "notify_systems.email_notification": EmailNotification(),
        "quality.check": QualityCheck(),
    }
)
