"""How far a long act is, on stderr: a bar on a terminal, one line at its end elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convergence.cli.output import say

Advance = Callable[[int, int], None]
"""Done, of all; may be called from any thread."""


@contextmanager
def bar(label: str) -> Iterator[Advance]:
    """While inside, what is told to `Advance` is shown; nothing when it is never called."""
    if not sys.stderr.isatty():
        with _line(label) as advance:
            yield advance
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None, visible=False)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield show


@contextmanager
def _line(label: str) -> Iterator[Advance]:
    last = (0, 0)

    def remember(done: int, total: int) -> None:
        nonlocal last
        last = max(last, (done, total))

    yield remember
    if last[1]:
        say(f"{label}: {last[0]} of {last[1]}")
