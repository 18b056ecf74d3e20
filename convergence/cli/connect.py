"""How a command reaches the service: a server by its URL, the one that has the home, or none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convergence.errors import Invalid
from convergence.outside.home import Home
from convergence.settings import Settings

if TYPE_CHECKING:
    from convergence.client import Client


def read_settings(home: Path | None, **flags: Any) -> Settings:  # noqa: ANN401 - as Settings.load
    return Settings.load(home=home, **flags)


@contextmanager
def connect(server: str | None, home: Path | None) -> Iterator["Client"]:
    """A client, closed at the end. Raises CdpError when what was asked for cannot be used."""
    if server is not None and home is not None:
        raise Invalid("--server and --home exclude each other", hint="leave one of them out")
    settings = read_settings(home)
    client = _to_server(settings, server or _listening(settings.home)) or _embedded(settings)
    try:
        yield client
    finally:
        client.close()


def _listening(home: Path) -> str | None:
    """The URL of the server that has this home; None when there is none."""
    holder = Home(home).holder()
    return holder.url if holder and holder.url else None


def _to_server(settings: Settings, url: str | None) -> "Client | None":
    if url is None:
        return None
    from convergence.client import HttpClient

    api_key = os.environ.get("CDP_API_KEY")
    return HttpClient(url, api_key=api_key, admin_key=_admin_key(settings))


def _admin_key(settings: Settings) -> str | None:
    """The operator's key: as set, else that of the home, where this user may read it."""
    given = settings.admin_key_text()
    if given:
        return given
    try:
        return (settings.home / "admin.key").read_text("utf-8").strip() or None
    except OSError:
        return None


def _embedded(settings: Settings) -> "Client":
    from convergence.cli.embedded import EmbeddedClient

    return EmbeddedClient(settings)
