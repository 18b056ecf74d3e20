"""The JSON Schema of a template, for editors; made from the models that check templates."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from convergence.model.template_keys import StepKeys, TemplateKeys

_SCALARS = ["string", "number", "boolean"]


def json_schema(step_models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """One schema, with a kind of step for each `ps_type`."""
    models: list[type[BaseModel]] = [TemplateKeys, StepKeys, *step_models.values()]
    refs, schema = models_json_schema([(model, "validation") for model in models])
    defs: dict[str, Any] = schema["$defs"]
    names = {model: refs[model, "validation"]["$ref"].split("/")[-1] for model in models}
    step = defs.pop(names[StepKeys])
    for ps_type, model in sorted(step_models.items()):
        defs[f"step.{ps_type}"] = _step(step, defs[names[model]], ps_type)
    for model in set(step_models.values()):
        defs.pop(names[model])
    root = defs.pop(names[TemplateKeys])
    kinds = [{"$ref": f"#/$defs/step.{ps_type}"} for ps_type in sorted(step_models)]
    root["properties"]["steps"]["items"] = {"anyOf": kinds}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_with_scalars({**root, "title": "Pipeline template", "$defs": defs}),
    }


def schema_text(step_models: Mapping[str, type[BaseModel]]) -> str:
    """`configs/pipeline-template.schema.json`, to which the templates' first line points."""
    return json.dumps(json_schema(step_models), indent=2) + "\n"


def _step(step: Mapping[str, Any], own: Mapping[str, Any], ps_type: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": own.get("description", ""),
        "additionalProperties": False,
        "required": [*step["required"], *own.get("required", [])],
        "properties": {
            **step["properties"],
            **own.get("properties", {}),
            "ps_type": {"const": ps_type},
        },
    }


def _with_scalars(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """A text may be written without quotes, and then looks like a number or a truth value."""
    if isinstance(schema, list):
        return [_with_scalars(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    widened = {key: _with_scalars(item) for key, item in schema.items()}
    kind = schema.get("type")
    if kind == "string" and "enum" not in schema and "const" not in schema:
        widened["type"] = _SCALARS
    elif isinstance(kind, list) and "string" in kind:
        widened["type"] = [*kind, "number", "boolean"]
    return widened
