"""Makes text of unknown origin harmless: no controls, no line ends, no marks of direction."""

import unicodedata

UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (bidi marks are), lone surrogates, line and page ends."""


def one_line(text: str, length: int = 200) -> str:
    """One line of at most `length` characters: what is unsafe becomes a space."""
    return " ".join(_spaced(text).split())[:length]


def plain_lines(text: str) -> str:
    """The same for a text of several lines, whose line ends and tabs stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(_spaced, line.split("\t"))) for line in lines)


def escaped(text: str) -> str:
    """One line in which what is unsafe is written as an escape, so that nothing is lost."""
    return "".join(
        character.encode("unicode_escape").decode() if _is_unsafe(character) else character
        for character in text
    )


def _spaced(text: str) -> str:
    return "".join(" " if _is_unsafe(character) else character for character in text)


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in UNSAFE
