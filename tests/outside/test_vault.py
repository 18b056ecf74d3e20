"""What is sealed opens for its owner alone, and with keys that are listed."""

from pathlib import Path

import pytest

from convergence.errors import Invalid, Unavailable
from convergence.outside.vault import Vault

SECRET = b"a private key"
OWNER = "cdp|cred|v1|acme|gcp"


def vault(home: Path, key: str | None = None, environment: str = "development") -> Vault:
    return Vault(home, key=key, environment=environment)


def test_a_secret_opens_for_its_owner_alone(tmp_path: Path) -> None:
    sealed = vault(tmp_path).seal(SECRET, OWNER)
    assert SECRET not in sealed
    assert vault(tmp_path).open(sealed, OWNER) == SECRET
    with pytest.raises(Unavailable, match="belongs elsewhere"):
        vault(tmp_path).open(sealed, OWNER.replace("acme", "globex"))


def test_what_was_changed_stays_shut(tmp_path: Path) -> None:
    sealed = vault(tmp_path).seal(SECRET, OWNER)
    for place in range(len(sealed)):
        broken = bytearray(sealed)
        broken[place] ^= 1
        with pytest.raises(Unavailable):
            vault(tmp_path).open(bytes(broken), OWNER)


def test_a_new_key_seals_and_the_old_one_still_opens(tmp_path: Path) -> None:
    old = vault(tmp_path, "first").seal(SECRET, OWNER)
    new = vault(tmp_path, "first,second").seal(SECRET, OWNER)
    assert vault(tmp_path, "first,second").open(old, OWNER) == SECRET
    assert vault(tmp_path, "second").open(new, OWNER) == SECRET
    with pytest.raises(Unavailable, match="CDP_CREDENTIALS_KEY"):
        vault(tmp_path, "second").open(old, OWNER)


@pytest.mark.parametrize("key", [None, "short"])
def test_outside_development_a_key_is_given(tmp_path: Path, key: str | None) -> None:
    with pytest.raises(Invalid, match="CDP_CREDENTIALS_KEY"):
        vault(tmp_path, key, "production")
    assert list(tmp_path.iterdir()) == []
