"""What each room promises: steps are named like their files, the store asks for the tenant."""

import ast
from collections.abc import Sequence
from pathlib import PurePosixPath

from convergence.steps.registry import STEP_TYPES
from tests.house.conftest import Module

NOT_STEPS = {"base", "checked", "registry", "__init__"}
# What a store function may take in place of `tenant_id`, since it carries one.
CARRIERS = {
    "Tenant",
    "Run",
    "StepRun",
    "Event",
    "Load",
    "ApiKeyRecord",
    "Credential",
    "Source",
    "Notification",
    "Schedule",
    "KeyedRequest",
}
WITHOUT_TENANT = {
    "sources.remove": "a source is the operator's",
    "listing.newest": "its callers say whose: runs one tenant's, fleet everybody's",
    "listing.count_newest": "the same",
}
ALL_TENANTS = {
    "fleet",
    "workers",
    "deployment",
    "database",
    "migrate",
    "catalogue",
    "mend",
    "adopt",
    "alone",
    "copy",
    "tables",
    "gate",
    "rows",
    "column_types",
    "sessions",
    "history",
}


def test_step_type_is_named_like_its_file(modules: Sequence[Module]) -> None:
    paths = [PurePosixPath(module.path) for module in modules]
    steps = [
        p.relative_to("convergence/steps") for p in paths if p.is_relative_to("convergence/steps")
    ]
    files = {str(p.with_suffix("")).replace("/", ".") for p in steps if p.stem not in NOT_STEPS}
    assert set(STEP_TYPES) == files
    for ps_type, step_type in STEP_TYPES.items():
        assert type(step_type).__module__ == f"convergence.steps.{ps_type}"


def test_store_functions_ask_for_the_tenant(modules: Sequence[Module]) -> None:
    unasked = set()
    for module in modules:
        path = PurePosixPath(module.path)
        if path.parent != PurePosixPath("convergence/store") or path.stem in ALL_TENANTS:
            continue
        for function in module.functions():
            if not function.name.startswith("_") and not _carries_tenant(function):
                unasked.add(f"{path.stem}.{function.name}")
    assert unasked == set(WITHOUT_TENANT)


def _carries_tenant(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    types = {
        node.id
        for a in arguments
        if a.annotation
        for node in ast.walk(a.annotation)
        if isinstance(node, ast.Name)
    }
    return any(a.arg == "tenant_id" for a in arguments) or bool(types & CARRIERS)
