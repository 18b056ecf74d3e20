"""What a pydantic model refuses, in the words of an author of templates."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from convergence.model.finding import MAX_FINDINGS, Finding, Path, nearest, quoted

MISSING = "is missing"
_FINDINGS = "findings"

RENAMED: Mapping[str, tuple[str, ...]] = {
    "id": ("step_id", "pipeline_id"),
    "type": ("ps_type",),
    "target": ("destination",),
    "dataset": ("dataset_type",),
    "dataset_id": ("dataset_type",),
    "table_id": ("table",),
    "table_name": ("table",),
    "write_disposition": ("write_mode",),
    "project_id": ("bq_project_id",),
    "sql": ("query",),
    "params": ("parameters", "query_params"),
    "needs": ("depends_on",),
    "dependencies": ("depends_on",),
    "to": ("to_emails",),
    "body": ("message",),
}
"""Keys that authors write, and what they are called."""

REFUSED: Mapping[str, tuple[str, str]] = {
    "pipeline": (
        "a template is not nested in `pipeline:`",
        "move its keys to the left edge and remove that line",
    ),
    "condition": ("conditions have no known language and are refused", "use trigger"),
}
"""Keys that authors write and that nothing replaces: why, and what to do."""

_EXPECTED = {
    "int_parsing": ("a whole number", "10"),
    "int_from_float": ("a whole number", "10"),
    "int_type": ("a whole number", "10"),
    "float_parsing": ("a number", "10"),
    "float_type": ("a number", "10"),
    "finite_number": ("a number", "10"),
    "bool_parsing": ("true or false", "true"),
    "bool_type": ("true or false", "true"),
    "string_type": ("a text", ""),
    "list_type": ("a list", ""),
    "tuple_type": ("a list", ""),
    "dict_type": ("a mapping", ""),
    "model_type": ("a mapping", ""),
    "model_attributes_type": ("a mapping", ""),
}


def problems(
    model: type[BaseModel],
    value: object,
    at: Path = (),
    *,
    siblings: Collection[str] = (),
) -> list[Finding]:
    """What `model` refuses in `value`, which lies at the path `at`; empty when it fits.

    `siblings` are keys of the same mapping that another model reads.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        items = error.errors(include_url=False)[:MAX_FINDINGS]
        found = [
            each
            for item in items
            for each in _findings(item, value, at, _known(model, item["loc"], siblings))
        ]
        return _once_each(found)
    return []


def without_consequences(findings: Collection[Finding]) -> list[Finding]:
    """The findings, less the keys that are missing because they were written by another name."""
    meant = {(*found.path[:-1], found.suggestion) for found in findings}
    is_nested = any(found.path == ("pipeline",) for found in findings)
    return [
        found
        for found in findings
        if found.message != MISSING
        or not (found.path in meant or (is_nested and len(found.path) == 1))
    ]


def _once_each(findings: list[Finding]) -> list[Finding]:
    """One for each place: a union complains once for each of its members."""
    best: dict[tuple[Path, bool], Finding] = {}
    for found in findings:
        place = (found.path, found.at_key)
        if place not in best or (found.suggestion and not best[place].suggestion):
            best[place] = found
    return list(best.values())


def _known(model: type[BaseModel], loc: Path, siblings: Collection[str]) -> Collection[str]:
    known = known_keys(model, loc[:-1])
    return [*known, *siblings] if len(loc) == 1 else known


def findings_error(findings: Sequence[Finding]) -> PydanticCustomError:
    """For a validator to raise: all that it found, each at its path below the model."""
    first = findings[0].sentence
    return PydanticCustomError(_FINDINGS, "{first}", {"first": first, _FINDINGS: tuple(findings)})


def _findings(
    item: Mapping[str, Any], value: object, at: Path, known: Collection[str]
) -> list[Finding]:
    if item["type"] == _FINDINGS:
        found: Sequence[Finding] = item["ctx"][_FINDINGS]
        return [replace(each, path=(*at, *item["loc"], *each.path)) for each in found]
    return [_finding(item, value, at, known)]


def _finding(item: Mapping[str, Any], value: object, at: Path, known: Collection[str]) -> Finding:
    loc: Path = tuple(item["loc"])
    kind = item["type"]
    if kind == "extra_forbidden":
        return unknown_key((*at, *loc), known)
    if kind == "missing":
        return Finding((*at, *loc), MISSING)
    path = (*at, *_existing(loc, value))
    is_key = loc[-1:] == ("[key]",)
    if kind in _EXPECTED:
        expected, example = _EXPECTED[kind]
        suggestion = f"{path[-1]}: {example}" if example and path else _in_quotes(item["input"])
        return Finding(path, f"expected {expected}, got {quoted(item['input'])}", suggestion)
    if kind in {"enum", "literal_error"}:
        expected = str(item["ctx"]["expected"])
        words = re.findall(r"'([^']*)'", expected) or [expected]
        message = f"expected {_one_of(words)}, got {quoted(item['input'])}"
        return Finding(path, message, nearest(str(item["input"]), words))
    return Finding(path, _message(item), at_key=is_key)


def _one_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _message(item: Mapping[str, Any]) -> str:
    """Pydantic's own sentence, or that of a validator."""
    got = quoted(item["input"])
    if item["type"] == "string_pattern_mismatch":
        return f"{got} does not match {item['ctx']['pattern']}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if message.startswith("Input "):
        return f"{message.removeprefix('Input ')}, got {got}"
    return message[:1].lower() + message[1:]


def unknown_key(path: Path, known: Collection[str]) -> Finding:
    """An unknown key, with the one that was probably meant."""
    key = str(path[-1])
    if key in REFUSED:
        return Finding(path, *REFUSED[key], at_key=True)
    renamed = [name for name in RENAMED.get(key, ()) if name in known]
    suggestion = renamed[0] if renamed else nearest(key, known)
    return Finding(path, "unknown key", suggestion, at_key=True)


def known_keys(model: type[BaseModel], loc: Path) -> Collection[str]:
    """The keys of the model that `loc` leads to from `model`; none when it leads elsewhere."""
    for part in loc:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        inner = next(_models_in(annotation), None)
        if inner is None:
            return ()
        model = inner
    return model.model_fields.keys()


def _models_in(annotation: Any) -> Any:  # noqa: ANN401 - annotations have no common type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _existing(loc: Path, value: Any) -> Path:  # noqa: ANN401 - a JSON-like tree
    """The part of pydantic's location that is in the input; the rest names types."""
    path: Path = ()
    for part in loc:
        if isinstance(value, Mapping) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            break
        path = (*path, part)
    return path


def _in_quotes(value: object) -> str:
    """A mapping like {tenant_id: null} is a name that lacks its quotes."""
    if isinstance(value, Mapping) and len(value) == 1:
        name, inner = next(iter(value.items()))
        return f'"{{{name}}}"' if inner is None else ""
    return ""
