"""A strict reading of YAML: plain mappings, lists and texts, each with its place in the file.

Scalars stay text (`no`, `12:30` and `2024-11-01` too); only an empty or `null` one is None. It
works on the parser's events, so that no input nests deeper or grows larger than the caps.
"""

import re
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import yaml

from convergence.errors import Fault
from convergence.model.finding import MAX_FINDINGS, Finding, Path

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_ENTRIES = 1_000
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_FOREIGN = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Mark(Protocol):
    """A place, counted from 0."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


class Span(NamedTuple):
    """Where a node starts, and the line where it ends; counted from 0."""

    line: int
    column: int
    end: int


@dataclass(slots=True)
class Document:
    """A parsed file. `value` is its JSON-like tree; `refused` what no template may hold.

    Not `is_whole` when the reading had to stop; `aliases` are values that are not known.
    """

    file: str
    lines: list[str] = field(default_factory=list)
    value: Any = None
    is_whole: bool = True
    refused: list[Fault] = field(default_factory=list)
    aliases: set[Path] = field(default_factory=set)
    values: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)

    def faults(self, findings: Iterable[Finding]) -> list[Fault]:
        """What was refused and what was found, in the order of the file; `MAX_FINDINGS` at most."""
        placed = [self._placed(found) for found in findings if not self._is_unknown(found.path)]
        faults = sorted(self.refused + placed, key=lambda fault: (fault.line, fault.column))
        if len(faults) > MAX_FINDINGS:
            more = self._fault(faults[MAX_FINDINGS].line - 1, 0, "... and more faults from here on")
            faults = [*faults[:MAX_FINDINGS], more]
        return faults

    def refuse(self, mark: Mark, message: str, suggestion: str = "") -> None:
        self.refused.append(self._fault(mark.line, mark.column, message, suggestion=suggestion))

    def _is_unknown(self, path: Path) -> bool:
        return any(path[: len(alias)] == alias for alias in self.aliases)

    def _placed(self, finding: Finding) -> Fault:
        line, column = self._place(finding)
        return self._fault(
            line,
            column,
            finding.sentence,
            pointer=finding.pointer,
            suggestion=finding.suggestion,
        )

    def _fault(
        self, line: int, column: int, message: str, *, pointer: str = "", suggestion: str = ""
    ) -> Fault:
        return Fault(
            message=message,
            pointer=pointer,
            file=self.file,
            line=line + 1,
            column=column + 1,
            suggestion=suggestion,
            excerpt=self.lines[line][:200] if line < len(self.lines) else "",
        )

    def _place(self, finding: Finding) -> tuple[int, int]:
        """The key, the needle within the value, or the value; else what is around it."""
        path = finding.path
        if finding.at_key and path in self.keys:
            return self.keys[path][:2]
        while path not in self.values and path:
            path = path[:-1]
        span = self.values.get(path, Span(0, 0, 0))
        return (finding.needle and self._find(finding.needle, span)) or span[:2]

    def _find(self, needle: str, span: Span) -> tuple[int, int] | None:
        for line, text in enumerate(self.lines[span.line : span.end + 1], start=span.line):
            column = text.find(needle, span.column if line == span.line else 0)
            if column >= 0:
                return line, column
        return None


def read(text: str, *, file: str) -> Document:
    """The document of a text. Never raises: what is wrong with it is in `refused`."""
    document = Document(file, lines=text.splitlines())
    try:
        _refuse_foreign(text, document)
        _Reader(document, text.removeprefix("\ufeff")).read()
    except _Stop as stop:
        document.is_whole = False
        document.refuse(stop.mark, *stop.args)
    except yaml.MarkedYAMLError as error:
        document.is_whole = False
        hint = "quote a text that holds ': ', '#', or starts with { [ @ % * & ! - ?"
        document.refuse(error.problem_mark or Span(0, 0, 0), f"not YAML: {error.problem}", hint)
    return document


class _Stop(Exception):
    """The reading cannot go on: a place, a message and perhaps a suggestion."""

    def __init__(self, mark: Mark, *args: str) -> None:
        super().__init__(*args)
        self.mark = mark


def _refuse_foreign(text: str, document: Document) -> None:
    foreign = _FOREIGN.search(text)
    if foreign:
        before = text[: foreign.start()].splitlines(keepends=True)
        ends_line = bool(before) and before[-1].splitlines()[0] != before[-1]
        place = Span(len(before), 0, 0) if ends_line or not before else None
        place = place or Span(len(before) - 1, len(before[-1]), 0)
        raise _Stop(place, f"the character U+{ord(foreign[0]):04X} is not allowed", "remove it")
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        document.lines = []
        raise _Stop(Span(0, 0, 0), f"the file is larger than {MAX_BYTES:,} bytes")


class _Reader:
    """Builds one document from the parser's events."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._next: Callable[[], Any] = _LOADER(text).get_event
        self._nodes = 0

    def read(self) -> None:
        self._next()  # the stream starts
        start = self._next()
        if not isinstance(start, yaml.DocumentStartEvent):
            raise _Stop(Span(0, 0, 0), "the file is empty")
        self._document.value = self._node(self._next(), ())
        self._next()  # the document ends
        end = self._next()
        if not isinstance(end, yaml.StreamEndEvent):
            raise _Stop(
                end.start_mark or Span(0, 0, 0),
                "a second document",
                "one template in a file, no ---",
            )

    def _node(self, event: Any, path: Path) -> Any:  # noqa: ANN401 - a JSON-like tree
        self._count(event, len(path))
        start = event.start_mark
        self._document.values[path] = Span(start.line, start.column, event.end_mark.line)
        if event.anchor or getattr(event, "tag", None):
            self._refuse_extras(event)
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.implicit[0] and event.value in _NULLS
            return None if is_null else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        self._document.aliases.add(path)
        return None

    def _list(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self._check_entries(event, items)
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            self._check_entries(event, items)
            key = self._key(event)
            if key is None:
                self._skip()
            elif key in items:
                first = self._document.keys[*path, key].line + 1
                self._refuse(event, f"a second {key[:60]!r}; the first is on line {first}")
                self._skip()
            else:
                mark = event.start_mark
                self._document.keys[*path, key] = Span(mark.line, mark.column, mark.line)
                items[key] = self._node(self._next(), (*path, key))
        return items

    def _key(self, event: Any) -> str | None:  # noqa: ANN401 - events have no common type
        """The key, or None for one that is refused."""
        if not isinstance(event, yaml.ScalarEvent):
            raise _Stop(event.start_mark, "a key that is not a text", "quote a text with { or [")
        self._count(event, 0)
        if event.anchor or event.tag:
            self._refuse_extras(event)
        if event.value == "<<" and event.implicit[0]:
            self._refuse(event, "merge keys (<<) are not allowed", "write the keys out")
            return None
        return str(event.value)

    def _skip(self) -> None:
        """Pass over the next value."""
        depth = 0
        while True:
            event = self._next()
            self._count(event, depth)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return

    def _count(self, event: Any, depth: int) -> None:  # noqa: ANN401 - as above
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Stop(event.start_mark, f"more than {MAX_NODES:,} values")
        if depth >= MAX_DEPTH:
            raise _Stop(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")

    def _check_entries(self, event: Any, items: Sized) -> None:  # noqa: ANN401 - as above
        if len(items) >= MAX_ENTRIES:
            raise _Stop(event.start_mark, f"more than {MAX_ENTRIES:,} entries in one place")

    def _refuse_extras(self, event: Any) -> None:  # noqa: ANN401 - as above
        anchor = event.anchor or ""
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"aliases (*{anchor[:60]}) are not allowed", "write it out")
        elif anchor:
            self._refuse(event, f"anchors (&{anchor[:60]}) are not allowed", "remove it")
        if tag := getattr(event, "tag", ""):
            self._refuse(event, f"tags ({tag[:60]}) are not allowed", "remove it")

    def _refuse(self, event: Any, message: str, suggestion: str = "") -> None:  # noqa: ANN401
        if len(self._document.refused) >= MAX_FINDINGS:
            raise _Stop(event.start_mark, "too many faults to go on")
        self._document.refuse(event.start_mark, message, suggestion)
