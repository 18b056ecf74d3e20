"""Shapes on the wire: the only public field names. For the HTTP routes and the command line.

`…In` is what callers send; `…_out` turns a value of the model into what they get. Times are
ISO 8601 in UTC with Z, decimals exact texts. Knows no HTTP framework.
"""

from convergence.api.wire.problem import (
    FaultOut,
    LimitProblem,
    Problem,
    ReadinessProblem,
    fault_out,
)
from convergence.api.wire.result import QueryIn, ResultOut, items_out, json_value, result_out
from convergence.api.wire.run import (
    RunAccepted,
    RunIn,
    RunOut,
    RunWithSteps,
    accepted_out,
    run_out,
    run_with_steps,
)
from convergence.api.wire.shape import Page
from convergence.api.wire.source import GrantIn, SourceIn, SourceOut, source_out
from convergence.api.wire.template import (
    TemplateOut,
    TemplateShown,
    TemplateText,
    Validated,
    template_out,
    template_shown,
)
from convergence.api.wire.tenant import (
    ApiKeyIn,
    ApiKeyOut,
    DryrunOut,
    NewApiKeyOut,
    OnboardedOut,
    TenantIn,
    TenantOut,
    TenantPatch,
    VariableIn,
    VariableOut,
    dryrun_out,
    key_out,
    new_key_out,
    onboarded_out,
    tenant_out,
    variables_out,
)
from convergence.api.wire.usage import LimitsOut, LimitsPatch, UsageOut, limits_out, usage_out

__all__ = [
    "ApiKeyIn",
    "ApiKeyOut",
    "DryrunOut",
    "FaultOut",
    "GrantIn",
    "LimitProblem",
    "LimitsOut",
    "LimitsPatch",
    "NewApiKeyOut",
    "OnboardedOut",
    "Page",
    "Problem",
    "QueryIn",
    "ReadinessProblem",
    "ResultOut",
    "RunAccepted",
    "RunIn",
    "RunOut",
    "RunWithSteps",
    "SourceIn",
    "SourceOut",
    "TemplateOut",
    "TemplateShown",
    "TemplateText",
    "TenantIn",
    "TenantOut",
    "TenantPatch",
    "UsageOut",
    "Validated",
    "VariableIn",
    "VariableOut",
    "accepted_out",
    "dryrun_out",
    "fault_out",
    "items_out",
    "json_value",
    "key_out",
    "limits_out",
    "new_key_out",
    "onboarded_out",
    "result_out",
    "run_out",
    "run_with_steps",
    "source_out",
    "template_out",
    "template_shown",
    "tenant_out",
    "usage_out",
    "variables_out",
]
