import sys
from pathlib import Path

from tests.tools.conftest import Checkout

UNREACHABLE = "http://127.0.0.1:9/simple"


def pretender(numbers: str) -> str:
    """A Python that says it and its SQLite have these versions."""
    real = Path(sys.executable).resolve()
    run = "import runpy, sys; sys.executable = sys.argv.pop(1); sys.argv.pop(0)"
    run += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    return f"""case "$*" in
    *sqlite3*) echo {numbers} ;;
    *bootstrap.py*) exec "{real}" -c "{run}" "$0" "$@" ;;
    *) exec "{real}" "$@" ;;
    esac"""


def test_first_start_prepares_and_second_start_is_silent(checkout: Checkout) -> None:
    first = checkout.run("runs", "ls")
    assert (first.code, first.out) == (0, "['runs', 'ls']\n"), first.err
    assert "requirements.lock with uv" in first.err
    second = checkout.run("a b", "--flag")
    assert (second.code, second.out, second.err) == (0, "['a b', '--flag']\n", "")
    assert len(checkout.calls()) == 1


def test_development_environment_serves_the_other_verbs_too(quick: Checkout) -> None:
    assert quick.run("test").out == "tests ran\n"
    assert quick.run("version").err == ""
    (quick.root / "requirements.lock").write_text("")
    assert "requirements-dev.lock with uv" in quick.run("version").err
    assert quick.run("test").err == ""


def test_development_packages_are_added_to_what_is_there(quick: Checkout) -> None:
    quick.run("version")
    mark = quick.root / ".venv" / "mark"
    mark.touch()
    assert "requirements-dev.lock" in quick.run("test").err
    assert mark.exists()


def test_index_of_pip_is_told_to_uv(quick: Checkout, tmp_path: Path) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {UNREACHABLE}\n")
    quick.run("version", PIP_CONFIG_FILE=str(configuration))
    assert quick.calls()[0].endswith(f"index={UNREACHABLE} downloads=never")


def test_without_uv_pip_installs(quick: Checkout) -> None:
    next(quick.wheels.glob("uv-*")).unlink()
    ended = quick.run("version")
    assert ended.code == 0, ended.err
    assert "requirements.lock with pip" in ended.err
    assert list(quick.root.glob(".venv/lib/*/site-packages/tiny.py"))


def test_without_network_it_says_so_and_the_next_start_succeeds(quick: Checkout) -> None:
    ended = quick.run(
        "version", PIP_NO_INDEX="0", PIP_INDEX_URL=UNREACHABLE, PIP_FIND_LINKS="", PIP_RETRIES="0"
    )
    assert ended.code == 6
    assert "could not be installed" in ended.err
    assert str(quick.root / ".venv.log") in ended.err
    assert "try: check the network" in ended.err
    assert quick.run("version").code == 0


def test_changed_package_is_refused(quick: Checkout) -> None:
    quick.wheel("tiny", "1.0", {"tiny.py": "evil = True"})
    ended = quick.run("version", UV_EXIT="1")
    assert ended.code == 6
    assert "DO NOT MATCH THE HASHES" in ended.err


def test_two_at_once_prepare_once(quick: Checkout) -> None:
    both = [quick.start("version") for _ in range(2)]
    texts = [process.communicate(timeout=50) for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert len(quick.calls()) == 1


def test_broken_stamp_or_python_means_a_new_environment(quick: Checkout) -> None:
    quick.run("version")
    venv = quick.root / ".venv"
    (venv / "cdp.stamp").write_text("runtime")
    assert "Python" in quick.run("version").err
    (venv / "bin" / "python").unlink()
    ended = quick.run("version")
    assert (ended.code, ended.out) == (0, "['version']\n"), ended.err


def test_moved_checkout_gets_a_new_environment(quick: Checkout) -> None:
    quick.run("version")
    quick.root = quick.root.rename(quick.root.with_name("elsewhere"))
    ended = quick.run("version")
    assert f"in {quick.root}/.venv" in ended.err
    assert ended.out == "['version']\n"


def test_foreign_folder_is_never_emptied(quick: Checkout, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter").touch()
    ended = quick.run("version", CDP_VENV=str(folder))
    assert ended.code == 2
    assert "left alone" in ended.err
    assert (folder / "letter").exists()


def test_old_python_is_refused_in_one_sentence(quick: Checkout) -> None:
    quick.program("python3", pretender("3 9 2 3 34 0"))
    ended = quick.run("version")
    assert ended.code == 2
    assert ended.err == (
        "cdp: Python 3.11, 3.12 or 3.13 is needed, and only 3.9.2 was found on PATH\n"
    )


def test_python_too_new_is_refused(quick: Checkout) -> None:
    quick.program("python3", pretender("3 14 0 3 50 0"))
    assert quick.run("version").code == 2


def test_python_whose_sqlite_is_new_enough_is_preferred(quick: Checkout) -> None:
    quick.program("python3.13", pretender("3 13 0 3 40 1"))
    ended = quick.run("version")
    assert (ended.code, ended.out) == (0, "['version']\n"), ended.err
    assert "SQLite" not in ended.err


def test_python_with_an_old_sqlite_is_better_than_none(quick: Checkout) -> None:
    quick.program("python3", pretender("3 12 1 3 40 1"))
    ended = quick.run("version")
    assert ended.code == 0, ended.err
    assert "Python 3.12.1 has SQLite 3.40.1" in ended.err


def test_no_python_at_all_is_said(quick: Checkout) -> None:
    quick.program("python3", "exit 127")
    ended = quick.run("version")
    assert ended.code == 2
    assert "no Python 3 was found" in ended.err
