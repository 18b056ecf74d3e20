"""`cdp completion`: the script that lets a shell complete `cdp` commands and options."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from convergence.cli.command import Call, command
from convergence.cli.output import write

VARIABLE = "_CDP_COMPLETE"
"""The script sets it when a person presses Tab."""


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "completion",
        examples=("source <(cdp completion bash)", "cdp completion fish | source"),
    )(completion)


def completion(call: Call, *, shell: Annotated[Shell, typer.Argument(metavar="SHELL")]) -> None:
    """Print what teaches bash, zsh or fish to complete commands and options."""
    from typer.completion import get_completion_script

    write(get_completion_script(prog_name="cdp", complete_var=VARIABLE, shell=shell.value))


def prepare() -> None:
    """Make ready to answer a shell. A plain call does not pay for it."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init

        completion_init()
