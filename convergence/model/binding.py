"""Names in templates: which there are, who may set them, and their values on the parsed tree."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from convergence.errors import Invalid
from convergence.model.finding import nearest
from convergence.model.template import Template, Variable

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
PIPELINE_ID = re.compile(r"[a-zA-Z0-9_-]{1,200}")
MAX_VALUE = 1000
MAX_TRIGGER_BY = 200

BUILT_INS = frozenset(
    {"tenant_id", "provider", "domain", "template_name", "pipeline_id", "date", "run_date"}
    | {"trigger_by", "admin_email", "company_name", "dataset", "project_id", "gcp_project_id"}
)
"""Known when a run is admitted."""

LATE = frozenset(
    {"run_id", "pipeline_logging_id", "step_id", "status", "pipeline_status"}
    | {"error_message", "execution_timestamp"}
)
"""Known only while a step runs."""

DECLARABLE = frozenset({"admin_email"})
"""Built-ins that a template may declare, and so open to values of the tenant and the request."""

# Line and paragraph separators break mail headers; lone surrogates cannot be stored.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A template for one tenant and date. `parameters` are the values of its declared variables.

    `parameter_hash` is the SHA-256 of their canonical JSON, hex: with tenant, pipeline and date
    it says whether two requests ask for the same run.
    """

    parameters: Mapping[str, str]
    pipeline_id: str
    parameter_hash: str


def names_in(value: object) -> set[str]:
    """Every `{name}` in the texts of a JSON-like tree, SQL included."""
    if isinstance(value, str):
        return set(_PLACE.findall(value))
    if isinstance(value, Mapping):
        return names_in(list(value.values()))
    if isinstance(value, list | tuple):
        return {name for item in value for name in names_in(item)}
    return set()


def fill(
    value: Any,  # noqa: ANN401 - a JSON-like tree
    names: Mapping[str, object],
    *,
    unfilled: Collection[tuple[str, ...]] = (),
) -> Any:  # noqa: ANN401 - as above
    """The tree with each `{name}` replaced, once: a value is never looked through again.

    What lies at the paths of `unfilled` stays as it is: SQL, whose names are bound on its syntax
    tree. Raises Invalid for a name without a value.
    """
    if () in unfilled:
        return value
    if isinstance(value, str):
        return _PLACE.sub(lambda place: _value_of(place[1], names), value)
    if isinstance(value, Mapping):
        return {
            key: fill(item, names, unfilled=[path[1:] for path in unfilled if path[0] == key])
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [fill(item, names) for item in value]
    return value


def step_names(variables: Mapping[str, str], names: Mapping[str, Any]) -> dict[str, Any]:
    """`names` with a step's own variables over them; those may use `names`, not one another."""
    return {**names, **{name: fill(value, names) for name, value in variables.items()}}


def bind(
    template: Template,
    *,
    tenant_values: Mapping[str, str],
    request_values: Mapping[str, str],
    builtins: Mapping[str, str],
) -> Bound:
    """Give every declared variable its value: request over tenant over template.

    A template's default may use `builtins`; given values are taken as they are. Raises Invalid.
    """
    given = {**tenant_values, **request_values}
    for name in given:
        check_override(name, template.variables)
    parameters = {}
    for name, variable in template.variables.items():
        value = given[name] if name in given else _default_of(variable, builtins)
        parameters[name] = check_value(name, value)
    pipeline_id = fill(template.pipeline_id, {**builtins, **parameters})
    if not PIPELINE_ID.fullmatch(pipeline_id):
        raise Invalid(
            f"pipeline_id {pipeline_id[:80]!r} of {template.ref} is not valid",
            code="invalid_pipeline_id",
            hint="its variables may hold letters, digits, _ and - only",
        )
    canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    return Bound(
        parameters=parameters,
        pipeline_id=pipeline_id,
        parameter_hash=hashlib.sha256(canonical.encode()).hexdigest(),
    )


def check_value(name: str, value: object) -> str:
    """Give a variable's value back, or raise Invalid: text, <= 1,000, no control characters."""
    wrong = wrong_text(value, longest=MAX_VALUE)
    if wrong:
        raise Invalid(f"variable {name[:60]!r} {wrong}", code="invalid_variable")
    return str(value)


def check_trigger_by(text: str) -> str:
    """Give the free text back, or raise Invalid: 1 to 200 characters, no control characters."""
    if not text.strip():
        raise Invalid("trigger_by cannot be empty", code="invalid_trigger_by")
    wrong = wrong_text(text, longest=MAX_TRIGGER_BY)
    if wrong:
        raise Invalid(f"trigger_by {wrong}", code="invalid_trigger_by")
    return text


def wrong_text(value: object, *, longest: int) -> str:
    """Why `value` is no text of one line, or an empty text."""
    if not isinstance(value, str):
        return "must be text"
    if len(value) > longest:
        return f"has {len(value):,} characters; {longest:,} are allowed"
    if _CONTROL.search(value):
        return "holds a control character"
    return ""


def check_override(name: str, declared: Mapping[str, Variable]) -> None:
    """Raise Invalid unless a tenant or a request may give `name` a value."""
    if name in declared:
        return
    if name in BUILT_INS | LATE:
        raise Invalid(f"{name} is set by the system and cannot be given", code="builtin_variable")
    meant = nearest(name, declared)
    known = ", ".join(declared) or "none"
    raise Invalid(
        f"the template declares no variable {name[:60]!r}",
        code="undeclared_variable",
        hint=f"did you mean {meant}?" if meant else f"it declares: {known}",
    )


def _default_of(variable: Variable, builtins: Mapping[str, str]) -> str:
    if variable.default is not None:
        return str(fill(variable.default, builtins))
    if variable.name in DECLARABLE:
        return builtins[variable.name]
    raise Invalid(
        f"variable {variable.name} has no value",
        code="missing_variable",
        hint=f"give it with the request, or store it for the tenant: {variable.name}=...",
    )


def _value_of(name: str, names: Mapping[str, object]) -> str:
    if name in names:
        return str(names[name])
    meant = nearest(name, names)
    raise Invalid(
        f"{{{name[:60]}}} is not a known name",
        code="unknown_variable",
        hint=f"did you mean {{{meant}}}?" if meant else "",
    )
