import time
from collections.abc import Callable

import pytest

from convergence.errors import Fault
from convergence.model import yaml_text

Faults = Callable[[str], list[Fault]]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", (1, 1), "empty"),
        ("# nothing\n", (1, 1), "empty"),
        ("- a\n", (1, 1), "expected a mapping"),
        ("a: 1\n---\nb: 2\n", (2, 1), "a second document"),
        ("a: 1\nb: 2\na: 3\n", (3, 1), "a second 'a'; the first is on line 1"),
        ("a: &x 1\n", (1, 4), "anchors"),
        ("&x a: 1\n", (1, 1), "anchors"),
        ("a: 1\nb: *x\n", (2, 4), "aliases"),
        ("<<: {a: 1}\n", (1, 1), "merge keys"),
        ("a: !!int 3\n", (1, 4), "tags"),
        ("a: !!python/object/apply:os.system [ls]\n", (1, 4), "tags"),
        ("a: ! b\n", (1, 4), "tags"),
        ("? [a]\n: b\n", (1, 3), "a key that is not a text"),
        ("a: [1\n", (2, 1), "not YAML"),
        ("a: b: c\n", (1, 5), "not YAML"),
        ("a: 1\nb: \x07\n", (2, 4), "U+0007"),
        ("a: 1\r\nb: \ud800\r\n", (2, 4), "U+D800"),
        ("\x00", (1, 1), "U+0000"),
        ("a:\n\n\x00", (3, 1), "U+0000"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_where_it_stands(
    text: str, place: tuple[int, int], said: str, faults: Faults
) -> None:
    found = [fault for fault in faults(text) if said in fault.message]
    assert [(fault.line, fault.column) for fault in found] == [place]


WAITS = f"[{', '.join(f'x{index}' for index in range(80))}]"
HOSTILE = {
    "nested lists": "[" * 200_000,
    "nested mappings": "{a: " * 50_000,
    "nested blocks": "- " * 100_000,
    "nested values of a second key": "a: 1\na: " + "[" * 200_000,
    "many keys": "\n".join(f"k{index}: v" for index in range(25_000)),
    "one key many times": "k: v\n" * 50_000,
    "many items": f"a: [{'1,' * 100_000}]",
    "many lists": "a:\n" + f"- [{','.join('1' * 500)}]\n" * 500,
    "many anchors": "\n".join(f"k{index}: &a v" for index in range(900)),
    "many names": f"a: '{'{x}' * 60_000}'",
    "many names that differ": f"a: '{''.join(f'{{x{index}}}' for index in range(30_000))}'",
    "many empty steps": "steps:\n" + "- {}\n" * 900,
    "an alias bomb": "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(300)),
    "a long number": f"timeout_minutes: {'9' * 200_000}",
    "a long key": f"{'k' * 200_000}: v",
    "a large file": "#" * 300_000,
    "a large file in bytes": "é" * 140_000,
    "many unknown dependencies": "pipeline_id: p\nsteps:\n"
    + "".join(
        f"- {{step_id: s{i}, ps_type: gcp.bq_etl, depends_on: {WAITS}}}\n" for i in range(200)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_at_once(name: str, faults: Faults) -> None:
    spent = [1.0]
    for _ in range(10):  # the quickest of some: a busy machine is not what is measured
        started = time.thread_time()
        found = faults(HOSTILE[name])
        spent.append(time.thread_time() - started)
        assert 0 < len(found) <= 51
        if min(spent) < 0.05:
            return
    pytest.fail(f"{min(spent) * 1000:.0f} ms")


def test_what_fits_the_caps_is_read() -> None:
    inner = "[" * (yaml_text.MAX_DEPTH - 2) + "1" + "]" * (yaml_text.MAX_DEPTH - 2)
    assert yaml_text.read(f"a: {inner}", file="f").is_whole
    assert not yaml_text.read(f"a: [{inner}]", file="f").is_whole
    rows = f"- [{', '.join('1' * 98)}]\n" * (yaml_text.MAX_NODES // 99 - 1)
    assert yaml_text.read(rows, file="f").is_whole
    assert not yaml_text.read(rows + "- 1\n" * 200, file="f").is_whole


def test_a_byte_order_mark_and_carriage_returns_do_no_harm() -> None:
    document = yaml_text.read("\ufeffa: 1\r\nb:\r\n  - 😀 é\r\n", file="f")
    assert document.value == {"a": "1", "b": ["😀 é"]}
    assert document.values["b", 0][:2] == (2, 4)
