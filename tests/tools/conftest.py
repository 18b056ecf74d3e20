"""A checkout in small: the real `cdp` and tools, with tiny lock files, wheels and Pythons."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3", "python")
COPY_OF_A_VENV = """import os, shutil, sys
shutil.rmtree(sys.argv[-1], ignore_errors=True)
shutil.copytree(os.environ["SEED"], sys.argv[-1], symlinks=True)
"""
FAKE_UV = """#!/bin/sh
echo "uv $* index=$UV_DEFAULT_INDEX downloads=$UV_PYTHON_DOWNLOADS" >> "$CALLS"
exit "${UV_EXIT:-0}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str


class Checkout:
    """Starts ./cdp with nothing in its environment but what is said here: no HOME, no network."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "a checkout"
        self.wheels = scratch / "wheels"
        self.path = scratch / "bin"
        self.calls_file = scratch / "calls"
        self.environment = {
            "PATH": f"{self.path}:/usr/bin:/bin",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            "CALLS": str(self.calls_file),
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.root / "cdp"), *arguments],
            env={**self.environment, **environment},
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> Ended:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=50)
        return Ended(code=process.returncode, out=out, err=err)

    def calls(self) -> list[str]:
        """How uv was called, a line for each."""
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def program(self, name: str, script: str) -> None:
        path = self.path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def wheel(self, name: str, version: str, files: dict[str, str]) -> str:
        """Make a wheel; its line of a lock file."""
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        everything = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tags}
        record = "".join(f"{file},,\n" for file in everything)
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in {**everything, f"{info}/RECORD": record}.items():
                member = zipfile.ZipInfo(file)
                member.external_attr = 0o100755 << 16
                archive.writestr(member, text)
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment to copy, since making one takes seconds."""
    folder = tmp_path_factory.mktemp("seed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def quick(checkout: Checkout, seed: Path, tmp_path: Path) -> Checkout:
    """The same with a `venv` module that copies."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "venv.py").write_text(COPY_OF_A_VENV)
    checkout.environment |= {"PYTHONPATH": str(tmp_path / "lib"), "SEED": str(seed)}
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """One Python on PATH works, as `python3`; the other names fail like empty shims."""
    made = Checkout(tmp_path)
    shutil.copytree(ROOT / "tools", made.root / "tools")
    shutil.copy(ROOT / "cdp", made.root)
    for folder in (made.wheels, made.path, made.root / "convergence"):
        folder.mkdir()
    for name in PYTHONS:
        made.program(name, "exit 127")
    made.program("python3", f'exec "{Path(sys.executable).resolve()}" "$@"')
    uv = made.wheel("uv", "0.13.9", {"uv-0.13.9.data/scripts/uv": FAKE_UV})
    (made.root / "tools" / "installer.lock").write_text(uv)
    lock = made.wheel("tiny", "1.0", {"tiny.py": ""})
    (made.root / "requirements.lock").write_text(lock)
    (made.root / "requirements-dev.lock").write_text(lock)
    (made.root / "convergence" / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\n")
    (made.root / "tools" / "run_tests.py").write_text("print('tests ran')\n")
    return made
