"""Keys and what guards them."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from convergence.errors import Invalid, Unavailable
from convergence.model.key import parse_key
from convergence.outside.secrets import Secrets


def make(
    home: Path,
    *,
    pepper: str | None = None,
    admin_key: str | None = None,
    environment: str = "development",
) -> Secrets:
    return Secrets(home, pepper=pepper, admin_key=admin_key, environment=environment)


def test_a_minted_key_matches_its_own_hash_alone(tmp_path: Path) -> None:
    secrets = make(tmp_path)
    one, other = secrets.mint(), secrets.mint()
    parsed = parse_key(one.text)
    assert parsed is not None
    assert parsed.key_id == one.key_id
    assert secrets.matches(one.key_hash, parsed.secret)
    assert not secrets.matches(other.key_hash, parsed.secret)
    assert not secrets.matches(None, parsed.secret)


def test_neither_the_hash_nor_the_repr_gives_the_key_away(tmp_path: Path) -> None:
    minted = make(tmp_path).mint()
    assert minted.text not in repr(minted)
    assert minted.text.split("_")[3] not in minted.key_hash
    assert len(minted.key_hash) == 64


def test_the_same_home_gives_the_same_secrets_again(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    assert first.values == second.values
    minted = first.mint()
    assert second.matches(minted.key_hash, minted.text.split("_")[3])


def test_generated_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "pepper").touch(0o644)
    make(tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"pepper": 0o600, "admin.key": 0o600}


def test_given_secrets_leave_no_files(tmp_path: Path) -> None:
    secrets = make(tmp_path, pepper="p", admin_key="a")
    assert list(tmp_path.iterdir()) == []
    assert secrets.values == ("a", "p")


def test_a_key_made_under_an_older_pepper_stays_good(tmp_path: Path) -> None:
    old = make(tmp_path, pepper="one").mint()
    rotated = make(tmp_path, pepper="one, two")
    assert (old.pepper_version, rotated.mint().pepper_version) == (1, 2)
    assert rotated.matches(old.key_hash, old.text.split("_")[3])
    assert not make(tmp_path, pepper="two").matches(old.key_hash, old.text.split("_")[3])


@pytest.mark.parametrize("text", ["", "wrong", "wrong\ud800", "ключ", "x" * 100_000])
def test_only_the_operators_key_is_the_operators(tmp_path: Path, text: str) -> None:
    secrets = make(tmp_path)
    assert not secrets.is_admin(text)
    assert secrets.is_admin(secrets.admin_key)
    assert not secrets.is_admin(f"{secrets.admin_key} ")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_outside_development_nothing_is_generated(tmp_path: Path, environment: str) -> None:
    good = "0123456789abcdef"
    make(tmp_path, pepper=good, admin_key=good, environment=environment)
    with pytest.raises(Invalid, match="CDP_PEPPER is not set"):
        make(tmp_path, admin_key=good, environment=environment)
    with pytest.raises(Invalid, match="CDP_ADMIN_KEY is not set"):
        make(tmp_path, pepper=good, environment=environment)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pepper", ["short", "0123456789abcdef,", "0123456789abcdef,short"])
def test_a_weak_secret_is_refused_in_production(tmp_path: Path, pepper: str) -> None:
    with pytest.raises(Invalid, match="CDP_PEPPER is shorter"):
        make(tmp_path, pepper=pepper, admin_key="0123456789abcdef", environment="production")


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pepper").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="pepper"):
        make(tmp_path)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from convergence.outside.secrets import Secrets;"
        "print(*Secrets(pathlib.Path(sys.argv[1]), pepper=None, admin_key=None,"
        " environment='development').values)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(6)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert {process.returncode for process in started} == {0}
