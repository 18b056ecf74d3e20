import pytest

from tests.cli.conftest import program


@pytest.mark.parametrize(
    ("line", "place", "completed"),
    [
        ("cdp tenants o", "2", ["onboard"]),
        ("cdp run --allow", "2", ["--allow-shrink"]),
        ("cdp sources add --kind gcp", "4", ["gcp_standard", "gcp_detailed"]),
    ],
)
def test_commands_options_and_values_are_completed(
    line: str, place: str, completed: list[str]
) -> None:
    told = program(_CDP_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=place)
    assert told.code == 0, told.err
    assert told.out.split() == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    told = program(_CDP_COMPLETE=f"source_{shell}")
    assert told.code == 0, told.err
    assert f"_CDP_COMPLETE=complete_{shell}" in told.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_printed_by_a_command(shell: str) -> None:
    told = program("completion", shell)
    assert told.code == 0, told.err
    assert told.out.strip() == program(_CDP_COMPLETE=f"source_{shell}").out.strip()
