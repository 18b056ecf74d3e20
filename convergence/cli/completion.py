"""`cdp completion`: the script that lets a shell complete commands, options and values."""

from enum import StrEnum
from typing import Annotated

import typer

from convergence.cli.command import Call, command
from convergence.cli.output import write

VARIABLE = "_CDP_COMPLETE"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_to(app: typer.Typer) -> None:
    examples = ("cdp completion bash >> ~/.bashrc", "cdp completion zsh > ~/.zfunc/_cdp")
    command(app, "completion", examples=examples)(completion)


def completion(
    _: Call, *, shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]
) -> None:
    """Print the script that makes a shell complete `cdp`."""
    from typer._completion_shared import get_completion_script

    write(get_completion_script(prog_name="cdp", complete_var=VARIABLE, shell=shell.value))
