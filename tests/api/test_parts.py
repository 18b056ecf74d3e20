"""The pure parts: cursors, buckets, values on the wire."""

import base64
import json
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from convergence.api import paging, wire
from convergence.engine.rate import RateLimit, RateLimited, Turns
from convergence.errors import Invalid


@given(some.lists(some.text(min_size=1), unique=True), some.integers(1, 9))
def test_parts_of_a_list_are_the_whole_list(names: list[str], limit: int) -> None:
    names = sorted(name for name in names if name.isprintable())
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(len(names) + 1):
        found = paging.after_name(names, limit, cursor, name=str)
        page = paging.page_of(found, limit, key=lambda name: (name,), show=str)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == names


@given(some.one_of(some.text(), some.binary().map(lambda b: base64.b64encode(b).decode())))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    for read in (paging.read_name, paging.read_moment):
        with suppress(Invalid):
            read(text)


@pytest.mark.parametrize(
    "parts", [["2024-01-01", "a"], ["0001-01-01T00:00:00+00:00", "a"], ["a", "b"], [1, 2], "ab", {}]
)
def test_a_cursor_without_a_moment_is_refused(parts: object) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
    with pytest.raises(Invalid):
        paging.read_moment(cursor)


def test_a_bucket_fills_again_as_time_goes_by() -> None:
    now = [0.0]
    limit = RateLimit(60, lambda: now[0])
    for _ in range(60):
        limit.take("a")
    with pytest.raises(RateLimited) as refused:
        limit.take("a")
    assert refused.value.retry_after == 1
    limit.take("b")
    now[0] = 1.0
    limit.take("a")
    with pytest.raises(RateLimited):
        limit.take("a")


@given(some.lists(some.floats(0, 10), max_size=60), some.integers(1, 30))
def test_no_minute_sees_more_than_twice_the_rate(pauses: list[float], rate: int) -> None:
    now, taken = [0.0], []
    limit = RateLimit(rate, lambda: now[0])
    for pause in pauses:
        now[0] += pause
        try:
            limit.take("a")
            taken.append(now[0])
        except RateLimited:
            continue
    for moment in taken:
        assert len([t for t in taken if moment <= t < moment + 60]) <= 2 * rate


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("-0.000000001"), "-0.000000001"),
        (Decimal("1E+3"), "1000"),
        (datetime(2024, 11, 1, tzinfo=UTC), "2024-11-01T00:00:00Z"),
        (datetime(2024, 11, 1, tzinfo=timezone(timedelta(hours=1))), "2024-11-01T00:00:00+01:00"),
        (date(2024, 11, 1), "2024-11-01"),
        (b"\x00\xff", "AP8="),
        (float("nan"), "nan"),
        (0.1, 0.1),
        (True, True),
        (None, None),
        ({"a": [Decimal("0.10")]}, {"a": ["0.10"]}),
        (timedelta(hours=1), "1:00:00"),
    ],
)
def test_values_of_the_warehouse_lose_nothing(value: object, shown: object) -> None:
    assert wire.json_value(value) == shown


@given(some.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_comes_back_as_it_was(value: Decimal) -> None:
    shown = wire.json_value(value)
    assert Decimal(shown) == value
    assert "E" not in shown


def test_the_shapes_know_no_http_framework() -> None:
    import subprocess

    code = "import sys, convergence.api.wire; sys.exit('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_caller_with_its_turns_under_way_waits_and_others_do_not() -> None:
    turns = Turns(2)
    with turns.of("a"), turns.of("a"):
        with pytest.raises(RateLimited), turns.of("a"):
            pass
        with turns.of("b"):
            pass
    with turns.of("a"):
        pass
