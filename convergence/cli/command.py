"""What all commands share: their common options, two examples in the help, how they end."""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption
from typing_extensions import override

from convergence.cli import failures
from convergence.cli.output import Format
from convergence.errors import CdpError

if TYPE_CHECKING:
    from convergence.client import Client
    from convergence.settings.fields import Settings

Verb = Callable[..., None]
"""Takes a Call, then its own arguments and options."""

Server = Annotated[
    str | None,
    typer.Option("--server", envvar="CDP_SERVER", help="Ask the server at this URL."),
]
Home = Annotated[
    Path | None,
    typer.Option("--home", help="The folder with the state: else CDP_HOME, else .cdp"),
]
Tenant = Annotated[
    str, typer.Option("--tenant", "-t", envvar="CDP_TENANT", help="The tenant's id.")
]
AnyTenant = Annotated[
    str | None, typer.Option("--tenant", "-t", envvar="CDP_TENANT", help="The tenant's id.")
]


class Noun(TyperGroup):
    """A group of verbs. It has no option that must be read: that would import pydantic."""

    @override
    def get_help_option(self, ctx: Any) -> TyperOption | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def group(help_text: str) -> typer.Typer:
    """A noun with verbs below it, whose help is plain text; only a shell's question completes."""
    return typer.Typer(
        cls=Noun,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion="_CDP_COMPLETE" in os.environ,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a command: how to answer, and where the state is."""

    format: Format
    server: str | None
    home: Path | None
    debug: bool

    @property
    def place(self) -> list[str]:
        """The options that say where the state is, as they were given."""
        server = ["--server", self.server] if self.server else []
        return server + (["--home", str(self.home)] if self.home else [])

    def client(self) -> AbstractContextManager["Client"]:
        """The way to the service: a server, or this process. Raises CdpError."""
        from convergence.cli.connect import connect

        return connect(self.server, self.home)

    def settings(self) -> "Settings":
        from convergence.cli.connect import read_settings

        return read_settings(self.home)


def _common(
    output: Annotated[
        Format, typer.Option("--output", "-o", help="How to print the answer.")
    ] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    server: Server = None,
    home: Home = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
) -> Call:
    """The options that each command has besides its own."""
    form = Format.JSON if as_json else output
    return Call(format=form, server=server, home=home, debug=debug)


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str], takes_negative: bool = False
) -> Callable[[Verb], Verb]:
    """Add a verb to a noun. An argument of its own stands for a common option of that name.

    `takes_negative`: what looks like an option and is none, as -1, is an argument.
    """
    settings = {"ignore_unknown_options": takes_negative}

    def add(verb: Verb) -> Verb:
        _, *own = inspect.signature(verb, eval_str=True).parameters.values()
        shared = inspect.signature(_common, eval_str=True).parameters
        common = {key: shared[key] for key in shared if key not in {p.name for p in own}}
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [p.replace(kind=keyword) for p in (*own, *common.values())]
        path = examples[0].partition(f" {name}")[0] + f" {name}"

        @functools.wraps(verb)
        def run(**given: Any) -> None:  # noqa: ANN401 - what the command line gave
            call = _common(**{key: given.pop(key) for key in common})
            try:
                verb(call, **given)
            except CdpError as error:
                tenant = given.get("tenant")
                whose = tenant if isinstance(tenant, str) else "TENANT"
                failures.report(error, debug=call.debug, tenant=whose, otherwise=f"{path} --help")
                raise typer.Exit(failures.exit_code(error)) from error

        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name, epilog=_epilog(examples), context_settings=settings)(run)
        return run

    return add


def _epilog(examples: Sequence[str]) -> str:
    return "\n".join(("\b", "Examples:", *(f"  {example}" for example in examples)))
