import shutil
import subprocess

import pytest

from tests.cli.conftest import Cdp, program


@pytest.mark.parametrize(
    ("line", "place", "completed"),
    [
        ("cdp runs l", "2", ["ls"]),
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


def test_bash_understands_the_script(cdp: Cdp) -> None:
    script = cdp("completion", "bash").out
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run([bash, "-n"], input=script, text=True, check=True)
    assert "_CDP_COMPLETE" in script
    assert {cdp("completion", shell).code for shell in ("zsh", "fish")} == {0}
