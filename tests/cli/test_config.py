from pathlib import Path

import pytest

from tests.cli.conftest import Cdp


def in_force(cdp: Cdp, name: str) -> tuple[str, str]:
    rows = {row["setting"]: row for row in cdp("config", "show", "--origin", "--json").json}
    return str(rows[name]["value"]), rows[name]["origin"]


def test_setting_is_set_in_the_file_of_this_folder(cdp: Cdp, tmp_path: Path) -> None:
    done = cdp("config", "set", "port", "9000", "-o", "json")
    assert done.json == {"setting": "port", "value": 9000, "origin": "cdp.toml"}
    assert (tmp_path / "cdp.toml").read_text() == "port = 9000\n"
    assert in_force(cdp, "port") == ("9000", "cdp.toml")


def test_other_lines_stay_and_a_comment_becomes_the_setting(cdp: Cdp, tmp_path: Path) -> None:
    (tmp_path / "cdp.toml").write_text('# mine\nhost = "127.0.0.1"\n# port = 8080\n')
    assert cdp("config", "set", "CDP_PORT", "9001").code == 0
    assert cdp("config", "set", "log_level", "debug").code == 0
    assert (tmp_path / "cdp.toml").read_text() == (
        '# mine\nhost = "127.0.0.1"\nport = 9001\nlog_level = "debug"\n'
    )
    assert cdp("config", "set", "port", "9002").code == 0
    assert "port = 9002\n" in (tmp_path / "cdp.toml").read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("prot", "9000", "prot is not a setting"),
        ("port", "many", "must be a whole number"),
        ("closing_days", "-1", "error: CDP_CLOSING_DAYS '-1': must be at least 1"),
        ("pepper", "salt", "write CDP_PEPPER=… into .env"),
    ],
)
def test_wrong_setting_is_refused_and_nothing_written(
    cdp: Cdp, tmp_path: Path, name: str, value: str, said: str
) -> None:
    refused = cdp("config", "set", name, value)
    assert refused.code == 2
    assert said in refused.err
    assert not (tmp_path / "cdp.toml").exists()


def test_stronger_place_is_told_of(cdp: Cdp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_PORT", "7000")
    assert "what the environment says is stronger" in cdp("config", "set", "port", "9000").err
    assert in_force(cdp, "port") == ("7000", "environment")


def test_paths_are_told(cdp: Cdp, tmp_path: Path, home: Path) -> None:
    rows = {row["what"]: row for row in cdp("config", "path", "--json").json}
    assert rows["settings"] == {
        "what": "settings",
        "path": str(tmp_path / "cdp.toml"),
        "exists": False,
    }
    assert rows["home"]["path"] == str(home)
