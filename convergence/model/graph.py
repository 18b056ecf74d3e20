"""The order of steps: which may start, which follow, and how a run ended.

Ordinary steps (trigger always) form the graph; the others are terminal: they run after it, by its
outcome. `outcomes` holds the status of each step that has started; a missing one has not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from convergence.model.finding import MAX_FINDINGS, Finding, Path, nearest
from convergence.model.run import ENDED, Status, StepRun
from convergence.model.template import OnFailure, Step, StepTrigger

Outcomes = Mapping[str, Status]

_FOLLOWING: Mapping[Status, frozenset[StepTrigger]] = {
    Status.COMPLETED: frozenset({StepTrigger.ON_SUCCESS, StepTrigger.ON_COMPLETION}),
    Status.FAILED: frozenset({StepTrigger.ON_FAILURE, StepTrigger.ON_COMPLETION}),
    Status.CANCELLED: frozenset({StepTrigger.ON_COMPLETION}),
}


def check(steps: Sequence[Step]) -> list[Finding]:
    """Every double id, unknown dependency and cycle; a cycle is named in the order of running."""
    findings = [*_double_ids(steps), *islice(_unknown_dependencies(steps), MAX_FINDINGS)]
    if findings:
        return findings
    try:
        for group in (_ordinary(steps), _terminal(steps)):
            levels(group)
    except CycleError as error:
        cycle: list[str] = error.args[1]
        index = [step.step_id for step in steps].index(cycle[0])
        return [
            Finding(
                ("steps", index, "depends_on"),
                f"steps wait for one another: {' -> '.join(cycle)}",
                f"remove one of these from depends_on of {cycle[0]}",
            )
        ]
    return []


def levels(steps: Iterable[Step]) -> list[list[Step]]:
    """The steps in groups: each depends only on earlier groups. Raises graphlib.CycleError."""
    order = {step.step_id: step for step in steps}
    place = {step_id: index for index, step_id in enumerate(order)}
    sorter = TopologicalSorter(_dependencies(list(order.values())))
    sorter.prepare()
    groups = []
    while sorter.is_active():
        group = sorter.get_ready()
        groups.append([order[step_id] for step_id in sorted(group, key=place.__getitem__)])
        sorter.done(*group)
    return groups


def ready(steps: Sequence[Step], outcomes: Outcomes) -> list[Step]:
    """The ordinary steps that may start now; none once a failure has stopped the run."""
    if _is_stopped(steps, outcomes):
        return []
    ordinary = _ordinary(steps)
    waits = _dependencies(ordinary)
    return [
        step
        for step in ordinary
        if not _has_started(step, outcomes)
        and all(outcomes.get(needed) in ENDED for needed in waits[step.step_id])
    ]


def terminal(steps: Sequence[Step], status: Status) -> list[Step]:
    """The terminal steps that follow a run of this outcome, in their order."""
    triggers = _FOLLOWING.get(status, frozenset())
    return [
        step for group in levels(_terminal(steps)) for step in group if step.trigger in triggers
    ]


def outcome(steps: Sequence[Step], outcomes: Outcomes, *, is_overdue: bool = False) -> Status:
    """How the ordinary steps ended; RUNNING while some may still run. Terminal steps count not.

    `is_overdue`: the run's own time is over, whatever its steps may do.
    """
    ordinary = _ordinary(steps)
    if any(outcomes.get(step.step_id) is Status.CANCELLED for step in ordinary):
        return Status.CANCELLED
    if is_overdue or _is_stopped(steps, outcomes):
        return Status.FAILED
    ended = all(outcomes.get(step.step_id) in ENDED for step in ordinary)
    return Status.COMPLETED if ended else Status.RUNNING


def cause(steps: Sequence[Step], records: Iterable[StepRun]) -> StepRun | None:
    """The step that ended the run badly: the first that stops it, else the first bad one."""
    goes_on = {
        step.step_id
        for step in steps
        if step.trigger is not StepTrigger.ALWAYS or step.on_failure is OnFailure.CONTINUE
    }
    bad = [step for step in records if step.status in {Status.FAILED, Status.CANCELLED}]
    return min(bad, key=lambda step: (step.step_id in goes_on, step.index), default=None)


def _ordinary(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if step.trigger is StepTrigger.ALWAYS]


def _terminal(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if step.trigger is not StepTrigger.ALWAYS]


def _dependencies(group: Sequence[Step]) -> dict[str, tuple[str, ...]]:
    """Of ordinary or of terminal steps: what each waits for within its group."""
    members = {step.step_id for step in group}
    waits: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for step in group:
        needed = before if step.depends_on is None else step.depends_on
        waits[step.step_id] = tuple(step_id for step_id in needed if step_id in members)
        before = (step.step_id,)
    return waits


def _has_started(step: Step, outcomes: Outcomes) -> bool:
    return outcomes.get(step.step_id, Status.PENDING) is not Status.PENDING


def _is_stopped(steps: Iterable[Step], outcomes: Outcomes) -> bool:
    return any(
        outcomes.get(step.step_id) is Status.CANCELLED
        or (
            outcomes.get(step.step_id) is Status.FAILED
            and step.on_failure is not OnFailure.CONTINUE
        )
        for step in _ordinary(steps)
    )


def _double_ids(steps: Sequence[Step]) -> list[Finding]:
    first: dict[str, int] = {}
    findings = []
    for index, step in enumerate(steps):
        earlier = first.setdefault(step.step_id, index)
        if earlier != index:
            message = f"{step.step_id!r} is the id of steps[{earlier}] already"
            findings.append(Finding(("steps", index, "step_id"), message, "a step_id of its own"))
    return findings


def _unknown_dependencies(steps: Sequence[Step]) -> Iterator[Finding]:
    by_id = {step.step_id: step for step in steps}
    for index, step in enumerate(steps):
        for position, needed in enumerate(step.depends_on or ()):
            path: Path = ("steps", index, "depends_on", position)
            if needed not in by_id:
                meant = nearest(needed, by_id)
                yield Finding(path, f"there is no step {needed[:60]!r}", meant)
            elif _never_meets(step, by_id[needed]):
                message = f"{needed!r} runs only after all ordinary steps"
                yield Finding(path, message, f"give {step.step_id} a trigger too")


def _never_meets(step: Step, needed: Step) -> bool:
    return step.trigger is StepTrigger.ALWAYS and needed.trigger is not StepTrigger.ALWAYS
