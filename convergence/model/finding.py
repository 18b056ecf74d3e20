"""What is wrong with a template, said by path; the reader of the text adds line and column."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
MAX_FINDINGS = 50
"""How many faults are looked for: who has more has another problem."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at `path`. It is about the key when `at_key`; `needle` is the text within the
    value that it is about."""

    path: Path
    message: str
    suggestion: str = ""
    at_key: bool = False
    needle: str = ""

    @property
    def sentence(self) -> str:
        return f"{shown(self.path)}: {self.message}" if self.path else self.message

    @property
    def pointer(self) -> str:
        """The path as a JSON pointer (RFC 6901)."""
        parts = (str(part).replace("~", "~0").replace("/", "~1") for part in self.path)
        return "".join(f"/{part}" for part in parts)


def shown(path: Path) -> str:
    """`steps[0].timeout_minutes`"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in path)
    return text.removeprefix(".")


def quoted(value: object) -> str:
    """A value as an author recognises it, in one short line."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return json.dumps(value[:57] + "..." if len(value) > 60 else value, ensure_ascii=False)
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return str(value)[:60]


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant, or an empty text."""
    matches = difflib.get_close_matches(word[:60].lower(), known, n=1, cutoff=0.6)
    return matches[0] if matches else ""
