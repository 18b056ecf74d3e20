"""How a command reaches the service: a server by its URL, the one that has the home, or none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convergence.errors import Invalid
from convergence.outside.home import Home
from convergence.settings.fields import Settings, text_of

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
    own = _listening(settings.home)
    url = server or own
    client = _embedded(settings) if url is None else _to_server(settings, url, is_own=url == own)
    try:
        yield client
    finally:
        client.close()


def _listening(home: Path) -> str | None:
    """The URL of the server that has this home; None when there is none."""
    holder = Home(home).holder()
    return holder.url if holder and holder.url else None


def _to_server(settings: Settings, url: str, *, is_own: bool) -> "Client":
    """The key that lies in the home is shown to the home's own server alone."""
    from convergence.client import HttpClient

    admin_key = text_of(settings.admin_key) or (_kept_key(settings.home) if is_own else None)
    return HttpClient(url, api_key=os.environ.get("CDP_API_KEY"), admin_key=admin_key)


def _kept_key(home: Path) -> str | None:
    """The operator's key, where this user may read it."""
    try:
        return (home / "admin.key").read_text("utf-8").strip() or None
    except OSError:
        return None


def _embedded(settings: Settings) -> "Client":
    from convergence.cli.embedded import EmbeddedClient

    return EmbeddedClient(settings)
