import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from convergence.errors import Invalid, NotFound, Unavailable
from convergence.library import Library

Models = Mapping[str, type[BaseModel]]

REF = "gcp/cost/cost_billing"


@pytest.fixture
def books(tmp_path: Path, models: Models, shipped: str) -> Library:
    directory = tmp_path / "configs"
    file = directory / f"{REF}.yml"
    file.parent.mkdir(parents=True)
    file.write_text(shipped, encoding="utf-8")
    return Library(directory, models)


def test_a_template_is_found_by_its_name(books: Library) -> None:
    template = books.get(REF)
    assert (template.ref, template.provider, template.domain, template.name) == (
        REF,
        "gcp",
        "cost",
        "cost_billing",
    )


def test_a_file_is_read_again_only_when_it_has_changed(books: Library, shipped: str) -> None:
    first = books.get(REF)
    assert books.get(REF) is first
    file = books.directory / f"{REF}.yml"
    file.write_text(shipped.replace('version: "1"', 'version: "2.0"'), encoding="utf-8")
    second = books.get(REF)
    assert (first.version, second.version) == ("1", "2.0")
    assert first.digest != second.digest


def test_a_missing_template_is_named_and_the_nearest_suggested(books: Library) -> None:
    with pytest.raises(NotFound) as caught:
        books.get("gcp/cost/cost_biling")
    assert caught.value.detail == "Template not found: configs/gcp/cost/cost_biling.yml"
    assert caught.value.code == "template_not_found"
    assert REF in caught.value.hint


@pytest.mark.parametrize(
    "ref",
    [
        *("", "gcp/cost", "gcp/cost/a/b", "../cost/a", "gcp/../a", "gcp/cost/.a", "gcp/cost/A"),
        *("/etc/passwd/a", "gcp/cost/a\n", "gcp//a", "gcp/cost/a\x00", "gcp/cost/..\\a", "g/c/é"),
    ],
)
def test_a_name_that_is_no_name_is_refused(books: Library, ref: str) -> None:
    with pytest.raises(Invalid):
        books.get(ref)


def test_a_link_out_of_the_directory_does_not_exist(books: Library, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yml"
    outside.write_text((books.directory / f"{REF}.yml").read_text(encoding="utf-8"))
    (books.directory / "gcp/cost/linked.yml").symlink_to(outside)
    (books.directory / "other").symlink_to(tmp_path, target_is_directory=True)
    (books.directory / "gcp/cost/alias.yml").symlink_to(books.directory / f"{REF}.yml")
    with pytest.raises(NotFound):
        books.get("gcp/cost/linked")
    assert books.get("gcp/cost/alias").version == "1"
    assert books.refs() == ["gcp/cost/alias", REF]


def test_only_names_that_can_be_asked_for_are_listed(books: Library) -> None:
    for name in ["Upper.yml", "with-dash.yml", "note.txt", ".hidden.yml", "z.yaml", "b.yml"]:
        (books.directory / "gcp/cost" / name).write_text("broken: [")
    (books.directory / "gcp/cost/folder.yml").mkdir()
    assert books.refs() == ["gcp/cost/b", REF]


def test_an_invalid_file_says_so_until_it_is_mended(books: Library, shipped: str) -> None:
    file = books.directory / f"{REF}.yml"
    file.write_text("pipeline_id: 1\n")
    for _ in range(2):
        with pytest.raises(Invalid, match=r"configs/gcp/cost/cost_billing.yml:1:1  steps"):
            books.get(REF)
    file.write_text(shipped, encoding="utf-8")
    assert books.get(REF).version == "1"


def test_a_file_that_is_not_utf_8_or_too_large_is_refused(books: Library) -> None:
    file = books.directory / f"{REF}.yml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(Invalid, match=r"cost_billing\.yml:2:1  not UTF-8"):
        books.get(REF)
    file.write_bytes(b"#" * (1 << 20))
    with pytest.raises(Invalid, match="larger than"):
        books.get(REF)


def test_an_empty_or_absent_directory_has_no_templates(tmp_path: Path, models: Models) -> None:
    books = Library(tmp_path / "nowhere", models)
    assert books.refs() == []
    with pytest.raises(NotFound):
        books.get(REF)


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user reads everything")
def test_a_file_that_may_not_be_read_says_so(books: Library) -> None:
    (books.directory / f"{REF}.yml").chmod(0)
    with pytest.raises(Unavailable, match=r"cost_billing\.yml"):
        books.get(REF)
