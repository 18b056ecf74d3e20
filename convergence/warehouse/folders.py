"""Where the files of sources lie, and words that do not say so."""

from collections.abc import Iterable, Mapping, Sequence
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any

from convergence.model.source import GrantedSource


def folder_of(pattern: str) -> Path:
    """The folder below which every file lies that a glob can match, links resolved."""
    return Path(_fixed(pattern)).resolve()


def without_folders(said: str, sources: Iterable[GrantedSource]) -> str:
    """Files by their place below their source's folder: where that is on the server is not for
    tenants.
    """
    return _stripped(said, _prefixes(sources))


def facts_without_folders(
    facts: Mapping[str, Any], sources: Iterable[GrantedSource]
) -> dict[str, Any]:
    """The same of all texts in JSON."""
    prefixes = _prefixes(sources)

    def below(value: object) -> object:
        if isinstance(value, str):
            return _stripped(value, prefixes)
        if isinstance(value, Mapping):
            return {name: below(each) for name, each in value.items()}
        return list(map(below, value)) if isinstance(value, list | tuple) else value

    return {name: below(each) for name, each in facts.items()}


def _prefixes(sources: Iterable[GrantedSource]) -> list[str]:
    """Folders as they are written and as they are, those of others before these."""
    patterns = [source.files for source in sources if source.files]
    folders = {str(of(pattern)) for pattern in patterns for of in (folder_of, _fixed)}
    ends = [f"{folder.rstrip('/')}/" for folder in folders if folder.strip("/")]
    return sorted(ends, key=len, reverse=True)


def _stripped(said: str, prefixes: Sequence[str]) -> str:
    for prefix in prefixes:
        said = said.replace(prefix, "")
    return said


def _fixed(pattern: str) -> PurePath:
    return PurePath(*takewhile(lambda part: not has_magic(part), PurePath(pattern).parent.parts))
