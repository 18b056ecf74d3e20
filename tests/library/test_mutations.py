"""Whatever is done to a template, its reader answers with a template or with placed faults."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import Fault
from convergence.model import yaml_text

Faults = Callable[[str], list[Fault]]
Json = Any
Holder = tuple[Json, Json]

FAMILIAR = (
    "id target pipeline condition {date} ${date} {nobody} 10 -1 ten null on_failure << config"
)
WORDS = st.sampled_from(FAMILIAR.split()) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def holders(tree: Json) -> list[Holder]:
    """Every (mapping or list, key or index) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    if not isinstance(tree, dict | list):
        return []
    found: list[Holder] = []
    for key, value in list(items):
        found.append((tree, key))
        if isinstance(value, dict | list):
            found += holders(value)
    return found


def drop(holder: Json, key: Json, draw: Callable[[Any], Any]) -> None:
    del holder[key]


def retype(holder: Json, key: Json, draw: Callable[[Any], Any]) -> None:
    holder[key] = draw(VALUES)


def rename(holder: Json, key: Json, draw: Callable[[Any], Any]) -> None:
    value = holder.pop(key)
    if isinstance(holder, dict):
        holder[draw(WORDS)] = value


def double(holder: Json, key: Json, draw: Callable[[Any], Any]) -> None:
    if isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[draw(WORDS)] = copy.deepcopy(holder[key])


def check_placed(found: list[Fault], text: str) -> None:
    lines = text.splitlines() or [""]
    for fault in found:
        assert fault.file == "t.yml"
        assert fault.message
        assert 1 <= fault.line <= len(lines) + 1
        assert fault.column >= 1


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_template_is_valid_or_refused_with_places(
    data: st.DataObject, shipped: str, faults: Faults
) -> None:
    tree = yaml.load(shipped, Loader=yaml.BaseLoader)  # noqa: S506 - builds texts only
    for _ in range(data.draw(st.integers(1, 4))):
        places = holders(tree)
        if not places:
            break
        holder, key = data.draw(st.sampled_from(range(len(places))).map(places.__getitem__))
        data.draw(st.sampled_from([drop, retype, rename, double]))(holder, key, data.draw)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    check_placed(faults(text), text)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_template_with_lines_out_of_place_is_valid_or_refused_with_places(
    data: st.DataObject, shipped: str, faults: Faults
) -> None:
    lines = shipped.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        indent = data.draw(st.integers(-4, 4))
        shifted = " " * indent + line if indent >= 0 else line[-indent:]
        noise = data.draw(st.text(max_size=6))
        lines[index : index + 1] = data.draw(
            st.sampled_from([[], [line, line], [shifted], [noise], [line + noise], [noise + line]])
        )
        lines = lines or [""]
    text = "\n".join(lines)
    check_placed(faults(text), text)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    text=st.text(
        alphabet=st.sampled_from("ab{}[]:,-&*!|>'\"%@#?~ \n\t\r\x85\ud800é😀"), max_size=60
    )
)
def test_any_text_is_refused_with_places(text: str, faults: Faults) -> None:
    found = faults(text)
    assert found
    check_placed(found, text)


@pytest.mark.parametrize("removed", range(9))
def test_the_reader_without_libyaml_agrees(
    removed: int, shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shipped.splitlines(keepends=True)
    text = "".join(lines[: removed * 7] + lines[removed * 7 + 1 :])
    fast = yaml_text.read(text, file="t.yml")
    monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)
    slow = yaml_text.read(text, file="t.yml")
    assert (slow.value, slow.is_whole, slow.keys) == (fast.value, fast.is_whole, fast.keys)
