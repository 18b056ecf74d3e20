"""Who reads a file to its end in one call is ended by a token all the same."""

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import Cancelled
from convergence.model.cancel import CancelToken
from convergence.warehouse.files.shapes import digest
from convergence.warehouse.watched import PART, watched


@given(content=st.binary(max_size=40), start=st.integers(0, 50), size=st.integers(-1, 50))
def test_a_watched_file_reads_as_the_file_does(content: bytes, start: int, size: int) -> None:
    plain, read = BytesIO(content), watched(BytesIO(content), CancelToken())
    assert (plain.seek(start), plain.read(size), plain.tell()) == (
        read.seek(start),
        read.read(size),
        read.tell(),
    )


def test_a_trip_ends_a_reading_in_its_middle() -> None:
    cancel = CancelToken()
    read = watched(BytesIO(bytes(3 * PART)), cancel)
    assert len(read.read(PART)) == PART
    cancel.trip(Cancelled("enough"))
    with pytest.raises(Cancelled, match="enough"):
        read.read()


def test_the_hashing_of_a_file_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    cancel = CancelToken()
    assert len(digest(f"{tmp_path}/a", cancel)) == 32
    cancel.trip(Cancelled("enough"))
    with pytest.raises(Cancelled, match="enough"):
        digest(f"{tmp_path}/a", cancel)
