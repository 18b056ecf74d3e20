"""Where the files of sources lie, and words that do not say so."""

from collections.abc import Iterable
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePath

from convergence.model.source import GrantedSource


def folder_of(pattern: str) -> Path:
    """The folder below which every file lies that a glob can match, links resolved."""
    return Path(_fixed(pattern)).resolve()


def without_folders(said: str, sources: Iterable[GrantedSource]) -> str:
    """Files by their place below their source's folder: where that is on the server is not for
    tenants.
    """
    patterns = [source.files for source in sources if source.files]
    folders = {str(of(pattern)) for pattern in patterns for of in (folder_of, _fixed)}
    for folder in sorted(folders, key=len, reverse=True):
        said = said.replace(f"{folder.rstrip('/')}/", "") if folder.strip("/") else said
    return said


def _fixed(pattern: str) -> PurePath:
    return PurePath(*takewhile(lambda part: not has_magic(part), PurePath(pattern).parent.parts))
