from pathlib import Path

import pytest

from convergence import errors
from convergence.cli.failures import EXIT_CODES, exit_code, report
from convergence.errors import CdpError, Fault, Invalid, StepInterrupted, WarehouseError

NAMED = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CdpError)
]


@pytest.mark.parametrize("kind", NAMED)
def test_every_error_has_an_exit_code(kind: type[CdpError]) -> None:
    assert any(parent in EXIT_CODES for parent in kind.__mro__[:2])


def test_an_error_without_its_own_code_has_that_of_its_kind() -> None:
    assert exit_code(StepInterrupted("try again")) == 1
    assert exit_code(WarehouseError("gone")) == 6


def test_error_says_what_happened_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    report(Invalid("the date is wrong", hint="write 2024-11-01"))
    said = capsys.readouterr()
    assert said.err == "error: the date is wrong\ntry: write 2024-11-01\n"
    assert said.out == ""


def test_fault_is_shown_in_its_source_with_a_caret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.yml"
    file.write_text("steps:\n  - timeout_minutes: ten\n")
    fault = Fault(
        message='expected a number, got "ten"',
        file=str(file),
        line=2,
        column=22,
        suggestion="timeout_minutes: 10",
    )
    report(Invalid("one fault", faults=[fault]), otherwise="cdp --help")
    assert capsys.readouterr().err.splitlines()[1:] == [
        f'{file}:2:22  expected a number, got "ten"',
        "    2 |   - timeout_minutes: ten",
        "                             ^^^",
        "try: timeout_minutes: 10",
    ]


def test_an_error_that_points_at_a_line_points_at_no_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault = Fault(message="is missing", file="t.yml", line=2, column=1)
    report(Invalid("one fault", faults=[fault]), otherwise="cdp --help")
    assert "try:" not in capsys.readouterr().err


def test_fault_without_a_readable_file_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    report(Invalid("bad", faults=[Fault(message="is missing", pointer="/date")]))
    assert capsys.readouterr().err.splitlines()[1:] == ["/date  is missing"]


def test_traceback_is_for_debug_alone(capsys: pytest.CaptureFixture[str]) -> None:
    error = Invalid("bad")
    report(error)
    assert "Traceback" not in capsys.readouterr().err
    report(error, debug=True)
    assert "convergence.errors.Invalid: bad" in capsys.readouterr().err
