"""Servers and workers as programs of their own on one PostgreSQL, and what they are asked."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import SMTP, Envelope, Session
from typing_extensions import override

ROOT = Path(__file__).parents[2]
ADMIN = {"X-Admin-Key": "an operator's key for tests"}
TEMPLATE = "test/fleet/notify"
NOTIFY = """
pipeline_id: "{tenant_id}-fleet-notify"
description: A run without a load
variables:
  n: "0"
steps:
  - step_id: tell
    ps_type: notify_systems.email_notification
    to_emails: ["{admin_email}"]
    subject: "{run_id}"
    message: "{n}"
"""
PATIENCE = 120
"""Seconds after which what was waited for will not come."""


class Sink(MessageHandler):
    """An SMTP server's end: counts the mails of each run."""

    def __init__(self) -> None:
        super().__init__()
        self.delivered: Counter[str] = Counter()
        self.ids: dict[str, set[str]] = defaultdict(set)
        """The Message-IDs of each run's mails."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.waiting: Counter[str] = Counter()
        """Of each run: mails whose senders wait for an answer."""
        self.lag = 0.0
        """Seconds that each mail takes."""
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Answer no mail from now on until `release`."""
        self._open.clear()

    def release(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._open.set)

    @override
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        run_id = str(message_from_bytes(content)["Subject"])
        self.waiting[run_id] += 1
        try:
            await self._open.wait()
            await asyncio.sleep(self.lag)
        finally:  # also when the sender hangs up
            self.waiting[run_id] -= 1
        return str(await super().handle_DATA(server, session, envelope))

    def holds(self, *run_ids: str) -> bool:
        """Whether a mail of each of these runs waits."""
        return all(self.waiting[run_id] > 0 for run_id in run_ids)

    @override
    def handle_message(self, message: Message) -> None:
        run_id = str(message["Subject"])
        self.delivered[run_id] += 1
        self.ids[run_id].add(str(message["Message-ID"]))


@contextmanager
def sink() -> Iterator[tuple[Sink, str]]:
    """A sink, and its URL."""
    handler = Sink()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    handler.loop = controller.loop
    controller.start()
    try:
        host, port = controller.hostname, controller.port
        yield handler, f"smtp://{host}:{port}"
    finally:
        controller.stop()


@dataclass(kw_only=True)
class Process:
    """One `cdp serve` or `cdp worker`."""

    home: Path
    words: Path
    popen: "subprocess.Popen[bytes]"
    url: str = ""
    names: set[str] = field(default_factory=set)
    """Of a worker: what it is called in the store."""

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        """In good order."""
        self.send(signal.SIGTERM)
        assert self.wait() == 0, self.said()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.popen.wait(timeout=PATIENCE)

    def has_ended(self) -> bool:
        return self.popen.poll() is not None

    def is_working(self) -> bool:
        """Whether it has told that it does; it must not have ended."""
        assert not self.has_ended(), self.said()
        return "stop with Ctrl-C" in self.said()

    def said(self) -> str:
        return self.words.read_text()

    def log(self) -> str:
        file = self.home / "logs" / "cdp.log"
        return file.read_text() if file.exists() else ""


@dataclass(kw_only=True)
class Fleet:
    """Programs that share a store, a pepper and a mail server."""

    folder: Path
    database_url: str
    smtp_url: str
    concurrency: int = 64
    settings: Mapping[str, str] = field(default_factory=dict)
    """More of their environment."""
    processes: list[Process] = field(default_factory=list)
    _made: int = 0

    def start(self, *command: str, home: Path | None = None, **environment: str) -> Process:
        """Start a program in a home of its own; it may not be ready yet."""
        self._made += 1
        home = home or self.folder / f"{command[0]}{self._made}"
        words = self.folder / f"{self._made}.err"
        with words.open("w") as stderr:
            popen = subprocess.Popen(
                [sys.executable, "-m", "convergence", *command, "--home", str(home)],
                env=self.environment() | environment,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.processes.append(Process(home=home, words=words, popen=popen))
        return self.processes[-1]

    def serve(self, *, like: Process | None = None) -> Process:
        """A server without a worker, once it answers; in the place of one that has ended."""
        return self._answering("serve", "--no-worker", like=like)

    def serve_with_files(self) -> Process:
        """A server with a worker, in the home with the files, or in the one that becomes it."""
        claimed = self.query("SELECT value FROM cdp.deployment WHERE name = 'files'")
        home = Path(claimed[0].value.partition(":")[2]) if claimed else None
        return self._answering("serve", home=home)

    def work_and_answer(self) -> Process:
        return self._answering("worker")

    def work(self) -> Process:
        """A worker, once it is in the store."""
        before = self.workers()
        worker = self.start("worker")
        wait_until(lambda: bool(self.workers() - before) or worker.has_ended())
        worker.names = self.workers() - before
        assert worker.names, worker.said()
        return worker

    def workers(self) -> set[str]:
        """The names of those that are enlisted."""
        return {row.worker for row in self.query("SELECT worker FROM cdp.workers")}

    def _answering(
        self, *command: str, home: Path | None = None, like: Process | None = None
    ) -> Process:
        port = int(like.url.rpartition(":")[2]) if like else free_port()
        started = self.start(*command, "--port", str(port), home=like.home if like else home)
        started.url = f"http://127.0.0.1:{port}"

        def is_up() -> bool:
            assert not started.has_ended(), started.said()
            return _answers(started.url)

        wait_until(is_up)
        return started

    def kill(self, *, but: Sequence[Process] = ()) -> None:
        """All that still run."""
        for process in self.processes:
            if process not in but and not process.has_ended():
                process.kill()

    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CDP_")}
        return clean | {
            "PYTHONPATH": str(ROOT),
            "CDP_DATABASE_URL": self.database_url,
            "CDP_PEPPER": "a pepper for tests alone",
            "CDP_ADMIN_KEY": ADMIN["X-Admin-Key"],
            "CDP_SMTP_URL": self.smtp_url,
            "CDP_CONFIGS_DIR": str(self.folder / "configs"),
            "CDP_WORKER_CONCURRENCY": str(self.concurrency),
            "CDP_RATE_LIMIT": "100000000",
            **self.settings,
        }

    def query(self, sql: str, **values: object) -> list[Any]:
        """Look into the store. Also while it is restarted: then once it is back."""
        deadline = time.monotonic() + PATIENCE
        engine = sa.create_engine(self.database_url, poolclass=sa.NullPool)
        while True:
            try:
                with engine.begin() as connection:
                    found = connection.execute(sa.text(sql), values)
                    return list(found) if found.returns_rows else []
            except sa.exc.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def live(self, tenant: str) -> int:
        """How many of the tenant's runs have not ended."""
        return sum(run.status in ("PENDING", "RUNNING") for run in self.runs(tenant))

    def runs(self, tenant: str) -> list[Any]:
        sql = "SELECT * FROM cdp.pipeline_runs WHERE tenant_id = :tenant ORDER BY run_id"
        return self.query(sql, tenant=tenant)

    def steps(self, tenant: str) -> list[Any]:
        sql = "SELECT * FROM cdp.step_logs WHERE tenant_id = :tenant ORDER BY run_id"
        return self.query(sql, tenant=tenant)

    def slots(self, tenant: str) -> int:
        """What the tenant's usage says is running."""
        sql = (
            "SELECT sum(concurrent_pipelines_running) FROM cdp.tenant_usage_quotas "
            "WHERE tenant_id = :tenant"
        )
        return int(self.query(sql, tenant=tenant)[0][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Speaks for one tenant."""

    tenant: str
    client: httpx2.Client

    def trigger(self, url: str, number: int, template: str = TEMPLATE) -> httpx2.Response:
        """Ask for the run of this number; the same number is the same work."""
        path = f"{url}/api/v1/pipelines/run/{self.tenant}/{template}"
        body = {"date": "2024-11-01"} | ({"n": str(number)} if template == TEMPLATE else {})
        return self.client.post(path, json=body)

    def cancel(self, url: str, run_id: str) -> None:
        answer = self.client.post(f"{url}/api/v1/pipelines/runs/{run_id}/cancel")
        assert answer.status_code == 200, answer.text

    def accepted(self, url: str, number: int, template: str = TEMPLATE) -> str:
        """The id of a run that was asked for."""
        answer = self.trigger(url, number, template)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["pipeline_logging_id"])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def write_templates(folder: Path) -> None:
    (folder / "configs/test/fleet").mkdir(parents=True)
    (folder / "configs/test/fleet/notify.yml").write_text(NOTIFY)


def onboard(url: str, tenant: str, **limits: int) -> dict[str, str]:
    """A tenant with these limits; the headers with its key."""
    application = {
        "tenant_id": tenant,
        "company_name": tenant,
        "admin_email": f"finops@{tenant}.example",
        "subscription_plan": "SCALE",
    }
    made = httpx2.post(f"{url}/api/v1/tenants/onboard", json=application, headers=ADMIN, timeout=60)
    assert made.status_code == 201, made.text
    wide = {"daily_limit": 10**6, "monthly_limit": 10**7, "concurrent_limit": 10**5} | limits
    path = f"{url}/api/v1/tenants/{tenant}/limits"
    assert httpx2.patch(path, json=wide, headers=ADMIN, timeout=60).status_code == 200
    return {"X-API-Key": made.json()["api_key"]}


def wait_until(is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def rolled(seed: int | None = None) -> random.Random:
    """A source of chance that can be had again: its seed is printed with a failure."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)  # noqa: S311 - no secret


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/live", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False
