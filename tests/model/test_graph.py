from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.model import graph
from convergence.model.run import Status
from convergence.model.template import OnFailure, Step, StepTrigger

TERMINAL = [StepTrigger.ON_SUCCESS, StepTrigger.ON_FAILURE, StepTrigger.ON_COMPLETION]
ENDS = st.sampled_from([Status.COMPLETED, Status.COMPLETED, Status.FAILED, Status.CANCELLED])


def step(
    step_id: str,
    *needed: str,
    trigger: StepTrigger = StepTrigger.ALWAYS,
    on_failure: OnFailure = OnFailure.STOP,
    chained: bool = False,
) -> Step:
    return Step(
        step_id=step_id,
        name=step_id,
        ps_type="x",
        trigger=trigger,
        on_failure=on_failure,
        depends_on=None if chained else needed,
    )


@st.composite
def graphs(draw: st.DrawFn) -> list[Step]:
    """Steps without cycles, in any order of writing, some of them terminal."""
    ids = [f"s{index}" for index in range(draw(st.integers(1, 8)))]
    steps = []
    for index, step_id in enumerate(ids):
        needed = draw(st.lists(st.sampled_from(ids[:index]), unique=True)) if index else []
        steps.append(step(step_id, *needed, on_failure=draw(st.sampled_from(OnFailure))))
    triggers = draw(st.lists(st.sampled_from(TERMINAL), max_size=4))
    steps += [step(f"t{index}", *ids[:1], trigger=each) for index, each in enumerate(triggers)]
    return draw(st.permutations(steps))


def ids(steps: Iterable[Step]) -> list[str]:
    return [each.step_id for each in steps]


def walk(steps: list[Step], draw: st.DataObject) -> dict[str, Status]:
    """Run the ordinary steps, one of those that are ready at a time."""
    outcomes: dict[str, Status] = {}
    while ready := graph.ready(steps, outcomes):
        chosen = draw.draw(st.sampled_from(ready))
        assert all(needed in outcomes for needed in chosen.depends_on or ())
        outcomes[chosen.step_id] = draw.draw(ENDS)
    return outcomes


def stops(each: Step, outcomes: dict[str, Status]) -> bool:
    status = outcomes.get(each.step_id)
    failed = status is Status.FAILED and each.on_failure is not OnFailure.CONTINUE
    return status is Status.CANCELLED or failed


@given(steps=graphs(), data=st.data())
def test_every_order_respects_depends_on_and_only_a_stop_leaves_steps_out(
    steps: list[Step], data: st.DataObject
) -> None:
    assert graph.check(steps) == []
    outcomes = walk(steps, data)
    ordinary = [each for each in steps if each.trigger is StepTrigger.ALWAYS]
    left_out = set(ids(ordinary)) - outcomes.keys()
    assert bool(left_out) <= any(stops(each, outcomes) for each in ordinary)


@given(steps=graphs(), data=st.data())
def test_the_outcome_is_that_of_the_worst_ordinary_step(
    steps: list[Step], data: st.DataObject
) -> None:
    outcomes = walk(steps, data)
    expected = Status.COMPLETED
    if Status.CANCELLED in outcomes.values():
        expected = Status.CANCELLED
    elif any(stops(each, outcomes) for each in steps):
        expected = Status.FAILED
    assert graph.outcome(steps, outcomes) is expected


@given(steps=graphs(), data=st.data())
def test_a_terminal_step_never_changes_the_outcome(steps: list[Step], data: st.DataObject) -> None:
    outcomes = walk(steps, data)
    before = graph.outcome(steps, outcomes)
    for each in graph.terminal(steps, before):
        outcomes[each.step_id] = data.draw(ENDS)
        assert graph.outcome(steps, outcomes) is before
        assert graph.ready(steps, outcomes) == []


@given(steps=graphs())
def test_the_levels_hold_each_step_once_after_what_it_needs(steps: list[Step]) -> None:
    ordinary = [each for each in steps if each.trigger is StepTrigger.ALWAYS]
    seen: set[str] = set()
    for level in graph.levels(ordinary):
        assert all(set(each.depends_on or ()) <= seen for each in level)
        seen |= set(ids(level))
    assert seen == set(ids(ordinary))


def test_without_depends_on_a_step_follows_the_one_written_before_it() -> None:
    mail = step("mail", trigger=StepTrigger.ON_FAILURE, chained=True)
    steps = [step("a", chained=True), mail, step("b", chained=True), step("c")]
    assert ids(graph.ready(steps, {})) == ["a", "c"]
    assert ids(graph.ready(steps, {"a": Status.COMPLETED, "c": Status.RUNNING})) == ["b"]


def test_a_failure_that_continues_does_not_stop_the_rest() -> None:
    steps = [step("a", on_failure=OnFailure.CONTINUE), step("b", "a")]
    assert ids(graph.ready(steps, {"a": Status.FAILED})) == ["b"]
    assert graph.outcome(steps, {"a": Status.FAILED, "b": Status.COMPLETED}) is Status.COMPLETED


@pytest.mark.parametrize("on_failure", [OnFailure.STOP, OnFailure.ALERT])
def test_a_failure_that_stops_lets_nothing_more_start(on_failure: OnFailure) -> None:
    steps = [step("a", on_failure=on_failure), step("b"), step("c")]
    outcomes = {"a": Status.FAILED, "b": Status.RUNNING}
    assert graph.ready(steps, outcomes) == []
    assert graph.outcome(steps, outcomes) is Status.FAILED


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.COMPLETED, ["s", "c"]),
        (Status.FAILED, ["f", "c"]),
        (Status.CANCELLED, ["c"]),
        (Status.RUNNING, []),
    ],
)
def test_terminal_steps_follow_the_real_status(status: Status, expected: list[str]) -> None:
    names = {"s": TERMINAL[0], "f": TERMINAL[1], "c": TERMINAL[2]}
    steps = [step("a"), *(step(name, trigger=trigger) for name, trigger in names.items())]
    assert ids(graph.terminal(steps, status)) == expected


def test_terminal_steps_wait_for_one_another() -> None:
    late = step("late", "early", "a", trigger=StepTrigger.ON_COMPLETION)
    steps = [late, step("early", trigger=StepTrigger.ON_SUCCESS), step("a")]
    assert ids(graph.terminal(steps, Status.COMPLETED)) == ["early", "late"]


def test_a_run_is_running_while_steps_may_still_run() -> None:
    steps = [step("a"), step("b", "a")]
    assert graph.outcome(steps, {}) is Status.RUNNING
    assert graph.outcome(steps, {"a": Status.COMPLETED}) is Status.RUNNING
    assert graph.outcome([], {}) is Status.COMPLETED


@given(length=st.integers(1, 6), before=st.integers(0, 2))
def test_a_cycle_is_named_in_the_order_of_running(length: int, before: int) -> None:
    steps = [step(f"x{index}") for index in range(before)]
    steps += [step(f"s{index}", f"s{(index - 1) % length}") for index in range(length)]
    (finding,) = graph.check(steps)
    cycle = finding.message.split(": ")[1].split(" -> ")
    needs = {each.step_id: each.depends_on or () for each in steps}
    assert cycle[0] == cycle[-1]
    assert len(cycle) == length + 1
    assert all(first in needs[then] for first, then in pairwise(cycle))


def test_double_ids_and_impossible_dependencies_are_all_reported() -> None:
    steps = [
        step("load", "mail", "laod"),
        step("load"),
        step("mail", "load", trigger=StepTrigger.ON_FAILURE),
    ]
    findings = graph.check(steps)
    assert [finding.path for finding in findings] == [
        ("steps", 1, "step_id"),
        ("steps", 0, "depends_on", 0),
        ("steps", 0, "depends_on", 1),
    ]
    assert findings[2].suggestion == "load"
