import json
import tomllib
from pathlib import Path

import pytest

from convergence.settings.fields import Settings, origins
from tests.cli.conftest import Cdp


def test_init_writes_a_folder_that_works(
    cdp: Cdp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cdp("init", "bills", "-o", "json")
    assert made.code == 0, made.err
    assert {row["what"] for row in made.json} == {"written"}
    monkeypatch.chdir(tmp_path / "bills")
    shown = {row["template"] for row in cdp("templates", "ls", "--json").json}
    assert "gcp/cost/cost_billing" in shown
    assert cdp("templates", "validate", "configs/gcp/cost/cost_billing.yml").code == 0
    assert origins(Settings.load(folder=Path()))["configs_dir"] == "cdp.toml"


def test_init_again_overwrites_nothing(cdp: Cdp, tmp_path: Path) -> None:
    cdp("init")
    (tmp_path / "cdp.toml").write_text("port = 9000\n")
    (tmp_path / ".env.example").unlink()
    again = cdp("init", "-o", "json")
    assert again.code == 0
    assert [row["file"] for row in again.json if row["what"] == "written"] == [".env.example"]
    assert (tmp_path / "cdp.toml").read_text() == "port = 9000\n"


def test_every_line_of_the_settings_may_be_uncommented(cdp: Cdp, tmp_path: Path) -> None:
    cdp("init")
    text = (tmp_path / "cdp.toml").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines() if " = " in line]
    said = tomllib.loads("\n".join(line for line in lines if line.split(" ")[1] == "="))
    assert Settings(**{name: value for name, value in said.items() if value != ""}).port == 8080


def test_no_secret_is_asked_for_in_the_settings(cdp: Cdp, tmp_path: Path) -> None:
    cdp("init")
    assert "admin_key" not in (tmp_path / "cdp.toml").read_text()
    assert "CDP_ADMIN_KEY=" in (tmp_path / ".env.example").read_text()


def test_editor_finds_the_schema(cdp: Cdp, tmp_path: Path) -> None:
    cdp("init")
    (schema,) = json.loads((tmp_path / ".vscode/settings.json").read_text())["yaml.schemas"]
    assert json.loads((tmp_path / schema).read_text())["type"] == "object"


def test_folder_that_cannot_be_written_is_said_so(cdp: Cdp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = cdp("init", "file")
    assert refused.code == 6
    assert refused.err.splitlines()[-1].startswith("try: choose a folder")


def test_git_is_told_to_ignore_state_and_secrets_once(cdp: Cdp, tmp_path: Path) -> None:
    ignored = tmp_path / ".gitignore"
    ignored.write_text("/dist\n.cdp")
    assert cdp("init").code == cdp("init").code == 0
    assert ignored.read_text() == "/dist\n.cdp\n.env\n"
    ignored.unlink()
    cdp("init")
    assert ignored.read_text() == ".cdp/\n.env\n"
