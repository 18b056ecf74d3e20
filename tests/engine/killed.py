"""A process that dies by SIGKILL at a named point of a load: `python killed.py HOME POINT`.

It starts the service on the home as `cdp serve` does, so that the run it was given is under way in
a worker thread when the process ends.
"""

import os
import signal
import sys
import time
from pathlib import Path

from convergence.engine import serve
from convergence.engine.service import Service
from convergence.settings.fields import Settings
from convergence.store import loads, units
from convergence.wiring import build


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(service: Service, point: str) -> None:
    """Die before or after one call of the load."""
    when, name = point.split("_", 1)
    owner: object = next(o for o in (service.warehouse, loads, units) if hasattr(o, name))
    call = getattr(owner, name)

    def dying(*arguments: object, **named: object) -> object:
        if when == "before":
            die()
        result = call(*arguments, **named)
        die()
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    killed = build(Settings(home=Path(sys.argv[1])))
    arm(killed, sys.argv[2])
    serve.start(killed, with_worker=True)
    time.sleep(30)
