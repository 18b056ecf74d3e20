"""What pages load: from this server alone, under names that change with the content."""

import gzip
import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from convergence import web
from convergence.web.assets import BUNDLES, asset
from tests.web.conftest import Browser

ROOM = Path(str(web.__file__)).parent
LISTS = (ROOM, Path(__file__).parents[1] / "browser")


@pytest.mark.parametrize("room", LISTS, ids=lambda room: room.name)
def test_what_was_not_written_here_is_what_the_list_says(room: Path) -> None:
    packages = tomllib.loads((room / "vendor.toml").read_text())["package"]
    listed = {name: sums[1] for each in packages for name, sums in each["files"].items()}
    kept = {
        str(path.relative_to(room)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in room.rglob("vendor/*")
    }
    assert kept == listed
    for each in packages:
        assert any("LICENSE" in name for name in each["files"]), each["name"]


@pytest.mark.parametrize("name", BUNDLES)
def test_asset_is_compressed_and_kept_for_good(browser: Browser, name: str) -> None:
    found = asset(name)
    answer = browser.get(found.path)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.content == found.content
    assert gzip.decompress(found.compressed) == found.content
    plain = browser.get(found.path, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == found.content


@pytest.mark.parametrize("name", ["app.000000000000.js", "app.js", "%2e%2e%2fsettings.py", ""])
def test_no_other_file_is_given(browser: Browser, name: str) -> None:
    assert browser.get(f"/static/{name}").status_code == 404


def test_pages_load_nothing_from_outside_and_no_inline_script(acme: Browser) -> None:
    for path in ("/sign-in", "/", "/costs", "/runs", "/runs/nothing"):
        page = acme.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        loaded = re.findall(r'(?:src|href|action)="([^"]+)"', page.text)
        assert loaded
        assert [each for each in loaded if not each.startswith(("/", "#"))] == []
        assert re.findall(r"<script(?! src=)(?! type=.application/json)|\son\w+=", page.text) == []
