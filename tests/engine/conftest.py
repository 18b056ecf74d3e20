"""Step types for tests, and templates made of them."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import pytest

from convergence.engine.execute import Executor
from convergence.engine.launch import launch
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.errors import StepFailed, StepInterrupted, Unavailable
from convergence.library import Library
from convergence.model.run import LaunchRequest, Run, Status
from convergence.steps.base import Report, Settings, StepContext, step_models
from convergence.steps.registry import STEP_TYPES
from convergence.store import runs

FAILURES = {"fail": "told to fail", "rant": "x" * 10_000}


class ActSettings(Settings):
    act: str = "ok"
    note: str = ""


class Act:
    """A step that does what it is told, and keeps a diary."""

    settings: ClassVar[type[Settings]] = ActSettings
    unfilled: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.meeting = Barrier(2, timeout=30)
        """Who meets goes on when another one meets too."""
        self.is_awake = False
        """From now on nothing sleeps."""

    def run(self, settings: ActSettings, context: StepContext) -> Report:
        self.diary.append(settings.note or settings.act)
        match settings.act:
            case "fail" | "rant":
                raise StepFailed(FAILURES[settings.act], code="told")
            case "stumble" | "be away" if len(self.diary) < 3:
                error = StepInterrupted if settings.act == "stumble" else Unavailable
                raise error(f"told to {settings.act}", code="told")
            case "break":
                raise ZeroDivisionError("told to break")
            case "meet":
                self.meeting.wait()
            case "sleep":
                while not self.is_awake:
                    context.cancel.check()
                    time.sleep(0.01)
        return Report(rows=len(self.diary))


@pytest.fixture
def act(service: Service, tmp_path: Path) -> Act:
    step = Act()
    service.step_types = {**STEP_TYPES, "test.act": step}
    (tmp_path / "configs/test/engine").mkdir(parents=True)
    service.library = Library(tmp_path / "configs", step_models(service.step_types))
    return step


@pytest.fixture
def pend(service: Service, tenant: Onboarded, act: Act, tmp_path: Path) -> Callable[..., Run]:
    """Write a template of these steps and launch it."""

    def pend(*steps: str, head: str = "") -> Run:
        text = "\n".join(
            [
                'pipeline_id: "{tenant_id}-test"',
                "description: a test",
                head,
                "steps:",
                *(f"  - {{{step}}}" for step in steps),
            ]
        )
        (tmp_path / "configs/test/engine/steps.yml").write_text(text + "\n")
        return launch(service, LaunchRequest(tenant_id="acme", template="test/engine/steps")).run

    return pend


@pytest.fixture
def walk(service: Service, pend: Callable[..., Run]) -> Callable[..., Run]:
    """Write a template of these steps, launch it and walk it to its end."""

    def walk(*steps: str, head: str = "") -> Run:
        run = pend(*steps, head=head)
        Executor(service=service, worker="test").walk("acme", run.run_id)
        return now(service, run)

    return walk


def now(service: Service, run: Run) -> Run:
    """The run as it is now."""
    with service.database.read() as tx:
        return runs.get(tx, run.tenant_id, run.run_id)


def wait_for(service: Service, run: Run, *statuses: Status) -> Run:
    """The run, once it has one of these statuses."""
    for _ in range(400):
        found = now(service, run)
        if found.status in statuses:
            return found
        time.sleep(0.1)
    raise AssertionError(f"run {run.run_id} is not {' or '.join(statuses)} after 40 s")


def wait_for_diary(act: Act, lines: int) -> None:
    """Until the steps have written so many lines."""
    for _ in range(400):
        if len(act.diary) >= lines:
            return
        time.sleep(0.05)
    raise AssertionError(act.diary)
