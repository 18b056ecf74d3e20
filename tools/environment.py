"""Prepares the environment of a checkout and then becomes `cdp`; tools/bootstrap.py starts it.

The environment is `.venv` (or CDP_VENV). A stamp in it says what it was made from; when that is
still true nothing is done. Standard library only.
"""

import ast
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
INSTALLER = ROOT / "tools" / "installer.lock"
VERSION = ".".join(str(part) for part in sys.version_info[:3])
PATIENCE = 600  # seconds to wait for another ./cdp that prepares the same environment
PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}


class Failure(Exception):
    """What went wrong and what to do about it. Exit code 2: this machine; 6: a dependency."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Environment:
    """One folder with a Python and the packages of one lock file; `dev` holds all of `runtime`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.stamp = folder / "cdp.stamp"
        self.log = folder.with_name(f"{folder.name}.log")
        # A venv cannot be moved, nor change its Python; what is installed in it can change.
        self.base = f"Python {VERSION} in {folder}"
        sources = (*LOCKS.values(), INSTALLER, Path(__file__))
        content = b"\0".join(path.read_bytes() for path in sources) + os.fsencode(ROOT)
        self.content = hashlib.sha256(content).hexdigest()

    def stamped(self) -> str:
        """What the stamp says this was made from, or nothing."""
        return self.stamp.read_text(errors="replace") if self.stamp.is_file() else ""

    def wanted(self, kind: str) -> str:
        return f"{kind}\n{self.base}\n{self.content}\n"

    def is_sound(self) -> bool:
        """Whether a finished environment is here and still runs."""
        is_finished = f"\n{self.base}\n" in self.stamped()
        if not is_finished or sys.executable == str(self.python):
            return is_finished
        with Path(os.devnull).open("w") as nowhere:
            return runs([str(self.python), "-c", ""], log=nowhere, env=os.environ)

    def is_ready(self, kind: str) -> bool:
        return self.stamped() in (self.wanted(kind), self.wanted("dev")) and self.is_sound()

    def prepare(self, kind: str) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(self.folder.with_name(f"{self.folder.name}.lock")):
            if self.is_ready(kind):
                return
            if self.stamped().startswith("dev\n"):
                kind = "dev"
            sound = self.is_sound()
            self.stamp.unlink(missing_ok=True)
            self.log.write_text("")
            if not sound:
                self.create()
            self.install(LOCKS[kind])
            (site_packages,) = self.folder.glob("lib/python*/site-packages")
            (site_packages / "convergence-checkout.pth").write_text(f"{ROOT}\n")
            self.stamp.write_text(self.wanted(kind))

    def create(self) -> None:
        """Start from nothing; a folder with other things in it is left alone."""
        is_other = self.folder.is_dir() and any(self.folder.iterdir())
        if is_other and not (self.folder / "pyvenv.cfg").exists():
            raise Failure(
                f"{self.folder} holds files but no Python environment, so it is left alone;"
                " set CDP_VENV to a folder of its own",
                code=2,
            )
        create = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        if not self.step(self.base, create):
            raise self.failure("the environment could not be created", "install the venv module")

    def install(self, lock: Path) -> None:
        """Install exactly the lock file: with uv, or more slowly with pip."""
        hashed = ["--require-hashes", "-r"]
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install"]
        uv = self.folder / "bin" / "uv"
        sync = [str(uv), "pip", "sync", "--compile-bytecode", "--require-hashes"]
        sync += ["--python", str(self.python), str(lock)]
        has_uv = uv.exists() or self.step(
            "uv", [*pip, "--retries", "1", "--only-binary", ":all:", *hashed, str(INSTALLER)]
        )
        if has_uv and self.step(f"{lock.name} with uv", sync, self.uv_settings()):
            return
        say("uv cannot be had here or failed, so pip does it, more slowly")
        if not self.step(f"{lock.name} with pip", [*pip, *hashed, str(lock)]):
            raise self.failure(
                "the packages could not be installed",
                "check the network and the package index (`pip config list`)",
            )

    def uv_settings(self) -> dict[str, str]:
        """What pip is told about its index, for uv, which reads no configuration of pip's."""
        listed = subprocess.run(
            [str(self.python), "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            check=False,
        )
        settings = {"UV_PYTHON_DOWNLOADS": "never"}
        for line in reversed(listed.stdout.splitlines()):  # `:env:` sorts first and so decides
            name, _, value = line.partition("=")
            variable = PIP_TO_UV.get(name.rpartition(".")[2])
            if variable and variable not in os.environ:
                settings[variable] = ast.literal_eval(value)
        return settings

    def step(
        self, name: str, command: Sequence[str], extra: Mapping[str, str] | None = None
    ) -> bool:
        """Run one command into the log, saying its name and time; whether it succeeded."""
        say(f"{name} …", end=" ")
        start = time.monotonic()
        with self.log.open("a") as log:
            print("$", *command, file=log, flush=True)
            is_done = runs(command, log=log, env={**os.environ, **(extra or {})})
        word = "" if is_done else "failed after "
        print(f"{word}{time.monotonic() - start:.1f} s", file=sys.stderr)
        return is_done

    def failure(self, what: str, advice: str) -> Failure:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        return Failure(f"{what}\n{tail}\nlog: {self.log}\ntry: {advice}, then again", code=6)


def say(text: str, end: str = "\n") -> None:
    print(f"cdp: {text}", end=end, file=sys.stderr, flush=True)


def runs(command: Sequence[str], *, log: IO[str], env: Mapping[str, str]) -> bool:
    """Run a command in the checkout with its output in the log; whether it ended well."""
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd=ROOT,
            check=False,
        )
    except OSError as error:
        print(error, file=log)
        return False
    return ended.returncode == 0


def takes(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes back when this process ends, however it ends."""
    with path.open("a") as file:
        end = time.monotonic() + PATIENCE
        if not takes(file):
            say("waiting for another ./cdp that prepares the environment")
            while not takes(file):
                if time.monotonic() > end:
                    raise Failure(f"another ./cdp holds {path}: end it, then again", code=6)
                time.sleep(0.1)
        yield


def main(arguments: list[str]) -> int:
    is_test = arguments[:1] == ["test"]
    kind = "dev" if is_test else "runtime"
    environment = Environment(Path(os.environ.get("CDP_VENV") or ROOT / ".venv").absolute())
    try:
        if not environment.is_ready(kind):
            environment.prepare(kind)
    except Failure as failure:
        say(str(failure))
        return failure.code
    except OSError as error:
        say(f"{error}; make it writable, or set CDP_VENV to a folder that is")
        return 2
    except KeyboardInterrupt:
        return 130
    python = str(environment.python)
    if is_test:
        program = [str(ROOT / "tools" / "run_tests.py"), *arguments[1:]]
    else:
        program = ["-P", "-m", "convergence", *arguments]
    return os.execv(python, [python, *program])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
