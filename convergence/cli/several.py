"""The same for several things: what fails for one is said, and the others go on."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from convergence.cli import failures
from convergence.cli.output import Format, show_rows
from convergence.errors import CdpError


def each(
    names: Iterable[str],
    act: Callable[[str], dict[str, Any]],
    columns: Sequence[str],
    form: Format,
) -> None:
    """Show what `act` gives for each name. Raises the last of its errors, after all are done."""
    rows, errors = [], list[CdpError]()
    for name in dict.fromkeys(names):
        try:
            rows.append(act(name))
        except CdpError as error:
            errors.append(error)
    show_rows(rows, columns, form)
    for earlier in errors[:-1]:
        failures.report(earlier)
    if errors:
        raise errors[-1]
