"""Fetch what was not written here: `python tools/vendor.py`, after a change of a vendor.toml.

Each archive and each file must hash to what the list beside it says. Packages come through `npm`,
which knows where to ask.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LISTS = ("convergence/web/vendor.toml", "tests/browser/vendor.toml")


def main() -> int:
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed")
        return 1
    for path in LISTS:
        room = ROOT / path
        for package in tomllib.loads(room.read_text())["package"]:
            fetch(npm, package, room.parent)
    return 0


def fetch(npm: str, package: dict[str, Any], room: Path) -> None:
    """Put the files of one package where its list says. Raises ValueError for another content."""
    named = f"{package['name']}@{package['version']}"
    print(named)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", named], cwd=folder, check=True, stdout=DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        check(archive.read_bytes(), package["archive"], named)
        with tarfile.open(archive) as packed:
            for name, (inside, expected) in package["files"].items():
                member = packed.extractfile(f"package/{inside}")
                content = member.read() if member else b""
                check(content, expected, f"{named}: {inside}")
                (room / name).parent.mkdir(parents=True, exist_ok=True)
                (room / name).write_bytes(content)


def check(content: bytes, expected: str, name: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{name} hashes to {found}, and not to {expected}")


if __name__ == "__main__":
    sys.exit(main())
