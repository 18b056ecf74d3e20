import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from convergence.cli.app import app
from tests.cli.conftest import Cdp, python

HEAVY = ("fastapi", "sqlalchemy", "duckdb", "sqlglot", "dbos", "pydantic_settings", "pydantic")
Words = tuple[str, ...]


def verbs(command: Any, path: Words) -> Iterator[tuple[Words, Any]]:  # noqa: ANN401 - typer hides it
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from verbs(child, (*path, name))


VERBS = dict(verbs(get_command(app), ()))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_help_has_two_examples_of_this_command(path: Words, cdp: Cdp) -> None:
    shown = cdp(*path, "--help")
    assert shown.code == 0
    examples = shown.out.partition("Examples:")[2].strip().splitlines()
    assert len(examples) == 2
    assert all(line.strip().startswith(f"cdp {' '.join(path)}") for line in examples)


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_command_prints_in_every_format(path: Words) -> None:
    options = {name for param in VERBS[path].params for name in param.opts}
    assert {"-o", "--json", "--server", "--home", "--debug"} <= options


def test_no_help_imports_what_is_heavy() -> None:
    calls = [[], ["--help"], ["runs"], *([*path, "--help"] for path in VERBS)]
    code = (
        "import sys, json\n"
        "from convergence.cli.app import main\n"
        "for call in json.loads(sys.argv[1]): main(call)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    ended = python("-c", code, json.dumps(calls))
    assert ended.code == 0, ended.err
    assert set(json.loads(ended.out.splitlines()[-1])) & set(HEAVY) == set()


def test_unknown_command_is_a_usage_error_with_the_likely_one(cdp: Cdp) -> None:
    refused = cdp("tenants", "onbord")
    assert refused.code == 2
    assert refused.out == ""
    assert "Did you mean 'onboard'?" in refused.err
    assert refused.err.splitlines()[-1] == "try: cdp tenants --help"


def test_missing_option_is_a_usage_error(cdp: Cdp) -> None:
    refused = cdp("run", "gcp/cost/cost_billing")
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: Missing option '--tenant' / '-t' (env var: 'CDP_TENANT').",
        "try: cdp run --help",
    ]


def test_version_is_told(cdp: Cdp) -> None:
    from convergence import __version__

    assert cdp("version", "--json").json["version"] == __version__
