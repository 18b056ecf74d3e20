"""Lines of text are told by their numbers, whatever is in them, and as many as are shown."""

import gzip
from pathlib import Path

import duckdb
import pytest

from convergence.errors import Cancelled
from convergence.model.cancel import CancelToken
from convergence.model.load import FileState
from convergence.model.source import GrantedSource, Kind
from convergence.warehouse.bad_rows import SHOWN, Place
from convergence.warehouse.files import lines
from convergence.warehouse.files.export import Sight
from convergence.warehouse.files.search import broken
from convergence.warehouse.files.shapes import FileShape, Format, Shapes
from convergence.warehouse.files.trouble import fault_in
from convergence.warehouse.files.types import TEXT

LONG = "x" * 200_000
"""More than Python's reader of CSV takes by itself, and less than DuckDB does."""
NEVER = CancelToken()
TRIPPED = CancelToken()
TRIPPED.trip(Cancelled("it was ended"))


def written(path: Path, text: str) -> str:
    path.write_bytes(text.encode(errors="surrogateescape"))
    return str(path)


def test_a_long_field_is_no_fault_and_those_behind_it_are_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f'a,b\n1,"{LONG}"\n2,y\n3\n')
    assert lines.lines_of_csv(path, {1, 2}, NEVER) == {1: 2, 2: 3}
    (bad,) = lines.broken_csv(path, 2, NEVER)
    assert str(bad) == "1 field instead of 2 in 1 row: line 4"


def test_a_quote_never_closed_is_not_read_to_the_end_of_a_large_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'a,b\n1,"\n' + f"{LONG}\n" * 12)
    (bad,) = lines.broken_csv(path, 2, NEVER)
    assert str(bad).startswith("a quote that is not closed within 2,000,000 characters")
    assert bad.where == [2]


def test_records_whose_lines_cannot_be_told_have_none(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'a,b\n1,"x"y\n2,y\n')
    assert lines.lines_of_csv(path, {2}, NEVER) == {}
    assert lines.lines_of_csv(str(tmp_path / "gone.csv"), {1}, NEVER) == {}
    whole = gzip.compress("".join(f"{n},{n * n}\n" for n in range(9_000)).encode())
    damaged = tmp_path / "a.csv.gz"
    damaged.write_bytes(whole[:100] + b"\xff" * 100 + whole[200:])
    assert lines.lines_of_csv(str(damaged), {8_000}, NEVER) == {}
    lines.broken_csv(str(damaged), 2, NEVER)


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON])
def test_of_any_number_of_bad_lines_those_that_are_shown_are_kept(
    tmp_path: Path, form: Format
) -> None:
    text = "a,b\n" + "1\n" * 1_000 if form is Format.CSV else '{"a": 1}\n' + "1\n" * 1_000
    path = written(tmp_path / "a", text)
    told = lines.broken_csv(path, 2, NEVER) if form is Format.CSV else lines.broken_json(path)
    (bad,) = told
    assert (bad.rows, bad.where, bad.place) == (1_000, [2, 3, 4, 5, 6], Place.LINE)


def test_only_so_many_kinds_of_faults_are_told_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "\n".join("1," * n for n in range(1, 100)))
    told = lines.broken_csv(path, 1, NEVER)
    assert len(told) == SHOWN + 1
    assert sum(bad.rows for bad in told) == 99


@pytest.mark.parametrize("nested", ["[" * 200_000, '{"a":' * 200_000])
def test_a_line_that_is_nested_too_deeply_is_named(tmp_path: Path, nested: str) -> None:
    path = written(tmp_path / "a.json", f'{{"a": 1}}\n{nested}\n')
    (bad,) = lines.broken_json(path)
    assert str(bad) == "lists or objects nested too deeply in 1 row: line 2"
    assert lines.broken_json(written(tmp_path / "b.json", f"[{nested}")) == []


def test_a_number_of_many_digits_is_no_fault(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", f'{{"a": 1}}\n{{"a": {"1" * 5_000}}}\n')
    assert lines.broken_json(path) == []


def test_the_search_ends_when_the_work_does(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "a\n1,2\n")
    as_json = written(tmp_path / "a.json", "{\n")
    state = FileState(path=path, size=1, mtime_ns=1, ctime_ns=1)
    shape = FileShape(state=state, format=Format.CSV, columns=(("cost", TEXT),))
    source = GrantedSource(table="export", files=path, kind=Kind.GCP_STANDARD)
    sight = Sight(source=source, shapes=(shape,))
    of_json = FileState(path=as_json, size=2, mtime_ns=1, ctime_ns=1)
    for search in (
        lambda: lines.lines_of_csv(path, {1}, TRIPPED),
        lambda: lines.lines_of_json(as_json, {1}, TRIPPED),
        lambda: broken(shape, TRIPPED),
        lambda: lines.broken_json(as_json, TRIPPED),
        lambda: fault_in(duckdb.connect(), sight, shape, duckdb.Error(), TRIPPED),
        lambda: Shapes().of(duckdb.connect(), [of_json], TRIPPED),
    ):
        with pytest.raises(Cancelled, match="it was ended"):
            search()
