"""Starts the fake on a loopback port in a thread, and gives google's client for it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.bigquery_rest.app import build
from tests.bigquery_rest.fake import Fake


@dataclass(frozen=True, kw_only=True)
class Running:
    """A fake that answers at `url`, also to other processes of this machine."""

    fake: Fake
    url: str

    def client(self, project: str, location: str | None = None) -> bigquery.Client:
        return bigquery.Client(
            project=project,
            location=location,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.url},
        )


@contextmanager
def running() -> Iterator[Running]:
    fake = Fake()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(build(fake), log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        yield Running(fake=fake, url=f"http://127.0.0.1:{port}")
        server.should_exit = True
        thread.join(30)
    fake.catalog.connection.close()
