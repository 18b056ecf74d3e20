"""The step types there are, by their `ps_type`."""

from collections.abc import Mapping
from types import MappingProxyType

from convergence.steps.base import Settings, StepType
from convergence.steps.gcp.bq_etl import BqEtl
from convergence.steps.notify_systems.email_notification import EmailNotification

STEP_TYPES: Mapping[str, StepType] = MappingProxyType(
    {
        "gcp.bq_etl": BqEtl(),
        "notify_systems.email_notification": EmailNotification(),
    }
)


def step_models(step_types: Mapping[str, StepType]) -> dict[str, type[Settings]]:
    """The model of each step type's own keys, for checking templates."""
    return {ps_type: step_type.settings for ps_type, step_type in step_types.items()}
