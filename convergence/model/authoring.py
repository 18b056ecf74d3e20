"""From the parsed tree of a template to a Template, or to everything that is wrong with it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import BaseModel

from convergence.model import graph
from convergence.model.binding import BUILT_INS, LATE, names_in
from convergence.model.finding import MAX_FINDINGS, Finding, Path, nearest
from convergence.model.template import OnFailure, Step, StepTrigger, Template, Variable
from convergence.model.template_keys import MAX_STEPS, StepKeys, TemplateKeys
from convergence.model.validation import problems, without_consequences

StepModels = Mapping[str, type[BaseModel]]

_TOP = frozenset({"source", "destination", "target"})
_WRITTEN = re.compile(
    r"\$\{\s*(?P<shell>[A-Za-z_]\w*)\s*\}"
    r"|\{\{\s*(?P<jinja>[A-Za-z_]\w*)\s*\}\}"
    r"|\{(?P<name>[A-Za-z_]\w*)\}",
    re.ASCII,
)


def check(raw: object, step_models: StepModels) -> list[Finding]:
    """Everything that is wrong with a template; `step_models` check each step type's own keys."""
    if not isinstance(raw, dict):
        return [Finding((), "expected a mapping with pipeline_id, steps and more")]
    findings = problems(TemplateKeys, raw) + _name_problems(raw)
    steps = raw.get("steps")
    steps = steps[:MAX_STEPS] if isinstance(steps, list) else []
    for index, step in enumerate(steps):
        if isinstance(step, dict) and len(findings) <= MAX_FINDINGS:
            findings += _step_problems(step, index, step_models)
    if len(findings) <= MAX_FINDINGS:
        findings += graph.check(_nodes(steps))
    return without_consequences(findings)


def build(ref: str, raw: Mapping[str, Any]) -> Template:
    """The template of a tree in which `check` finds nothing."""
    keys = TemplateKeys.model_validate(raw)
    steps = [StepKeys.model_validate(step) for step in keys.steps]
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    return Template(
        ref=ref,
        pipeline_id=keys.pipeline_id,
        description=keys.description,
        version=keys.version,
        steps=tuple(_step(step, keys) for step in steps),
        variables={
            name: Variable(
                name=name,
                default=variable.default,
                description=variable.description,
                source=variable.source,
            )
            for name, variable in {**keys.parameters, **keys.variables}.items()
        },
        timeout_minutes=keys.minutes,
        raw=raw,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        schedule=keys.schedule,
        notices=tuple(_notices(keys, steps)),
    )


def _step(keys: StepKeys, template: TemplateKeys) -> Step:
    given = keys.retry or keys.retry_policy
    return Step(
        step_id=keys.step_id,
        name=keys.name or keys.step_id,
        ps_type=keys.ps_type,
        description=keys.description,
        trigger=keys.trigger,
        depends_on=None if keys.depends_on is None else tuple(keys.depends_on),
        timeout_minutes=keys.timeout_minutes,
        retry=given.retry if given else template.retry,
        on_failure=_on_failure(keys, template),
        variables=keys.variables,
        settings=keys.own,
        metadata=keys.metadata,
    )


def _on_failure(keys: StepKeys, template: TemplateKeys) -> OnFailure:
    if keys.on_failure is not None:
        return keys.on_failure
    if keys.fail_on_error is False:
        return OnFailure.CONTINUE
    return template.on_failure_action or OnFailure.STOP


def _notices(keys: TemplateKeys, steps: Sequence[StepKeys]) -> Iterator[str]:
    if keys.schedule is not None:
        yield "schedule is shown and starts nothing: schedules are made per tenant"
    for index, step in enumerate(steps):
        if step.dq_config is not None:
            yield f"steps[{index}].dq_config is kept with the template; its checks are not run"


def _step_problems(step: Mapping[str, Any], index: int, step_models: StepModels) -> list[Finding]:
    at: Path = ("steps", index)
    findings = problems(StepKeys, step, at)
    ps_type = step.get("ps_type")
    if not isinstance(ps_type, str):
        return findings
    if ps_type not in step_models:
        meant = nearest(ps_type, step_models) or f"one of {', '.join(sorted(step_models))}"
        message = f"there is no step type {ps_type[:60]!r}"
        return [*findings, Finding((*at, "ps_type"), message, meant)]
    config = step.get("config")
    config = config if isinstance(config, dict) else {}
    findings += _misplaced(step, config, at)
    own = {key: value for key, value in step.items() if key not in StepKeys.model_fields}
    for found in problems(step_models[ps_type], {**config, **own}, siblings=StepKeys.model_fields):
        is_filled = not found.at_key and _holds_name(_at(step, config, found.path))
        if not is_filled:
            findings.append(_moved(found, at, own=own, config=config))
    return findings


def _misplaced(step: Mapping[str, Any], config: Mapping[str, Any], at: Path) -> Iterator[Finding]:
    for key in config:
        path = (*at, "config", key)
        if key in _TOP:
            yield Finding(path, "belongs in the step, not in config", f"{key}:", at_key=True)
        elif key in step:
            yield Finding(path, "is in the step too", "keep that one", at_key=True)


def _moved(
    found: Finding, at: Path, *, own: Mapping[str, Any], config: Mapping[str, Any]
) -> Finding:
    """A finding about the step type's own keys, at its place in the template."""
    is_in_config = bool(found.path) and found.path[0] in config and found.path[0] not in own
    path = (*at, "config", *found.path) if is_in_config else (*at, *found.path)
    return Finding(path, found.message, found.suggestion, found.at_key, found.needle)


def _at(step: Mapping[str, Any], config: Mapping[str, Any], path: Path) -> object:
    value: Any = {**config, **step}
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _holds_name(value: object) -> bool:
    """A text with a name in it becomes what it should be when the name is filled."""
    return isinstance(value, str) and _WRITTEN.search(value) is not None


def _name_problems(raw: Mapping[str, Any]) -> list[Finding]:
    declared = frozenset(_keys_of(raw.get("variables")) | _keys_of(raw.get("parameters")))
    findings: list[Finding] = []
    for path, text in _texts(raw, ()):
        if "{" in text and len(findings) <= MAX_FINDINGS:
            known = _known_at(path, raw, declared)
            matches = {match[0]: match for match in _WRITTEN.finditer(text)}
            found = (_name_problem(path, match, known) for match in matches.values())
            findings += islice(filter(None, found), MAX_FINDINGS)
    return findings[: MAX_FINDINGS + 1]


def _name_problem(path: Path, match: re.Match[str], known: frozenset[str]) -> Finding | None:
    name = match["shell"] or match["jinja"] or match["name"]
    if name == match["name"] and name in known:
        return None
    shown, right = match[0][:80], f"{{{name.lower()}}}"
    if name != match["name"] or (name.lower() in known and name != name.lower()):
        message = f"{shown} is not how a name is written"
        return Finding(path, message, right, needle=match[0])
    if not names_in(match[0]):
        return None
    meant = nearest(name, known)
    suggestion = f"{{{meant}}}" if meant else f"declare {name[:60]} in variables"
    return Finding(path, f"{shown} is not a known name here", suggestion, needle=match[0])


def _known_at(path: Path, raw: Mapping[str, Any], declared: frozenset[str]) -> frozenset[str]:
    """The names that have a value where `path` is filled."""
    if path[0] in {"variables", "parameters"}:
        return BUILT_INS - {"pipeline_id"}
    if path[0] == "pipeline_id":
        return BUILT_INS - {"pipeline_id"} | declared
    if path[0] != "steps" or len(path) < 3:
        return BUILT_INS | declared
    if path[2] == "variables":
        return BUILT_INS | LATE | declared
    step = raw["steps"][path[1]]
    own = step.get("variables") if isinstance(step, dict) else None
    return BUILT_INS | LATE | declared | _keys_of(own)


def _texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _keys_of(value: object) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()


def _nodes(steps: Sequence[object]) -> list[Step]:
    """The steps as far as their order goes; none when that cannot be told."""
    nodes = []
    for step in steps:
        keys = step if isinstance(step, dict) else {}
        step_id, needed = keys.get("step_id"), keys.get("depends_on")
        names: list[Any] = [step_id, *(needed if isinstance(needed, list) else [needed or ""])]
        if not all(isinstance(name, str) for name in names):
            return []
        triggers = [item for item in StepTrigger if item == keys.get("trigger")]
        nodes.append(
            Step(
                step_id=names[0],
                name=names[0],
                ps_type="",
                trigger=triggers[0] if triggers else StepTrigger.ALWAYS,
                depends_on=tuple(names[1:]) if isinstance(needed, list) else None,
            )
        )
    return nodes
