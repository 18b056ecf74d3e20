"""Forget what is over and old, so that no table grows for ever. One recurring act.

Nothing of a live run is touched, and what was published in the tenants' datasets stays.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from convergence.engine.service import Service
from convergence.model.reply import KEPT
from convergence.outside.logs import Log
from convergence.store import history

FORGET_SECONDS = 3600.0
BATCH = 200

log = Log(__name__)


def forget(service: Service) -> None:
    """Delete what is older than the settings keep; 0 days keep it for ever."""
    now, keep = service.clock.now(), service.config
    acts = (
        ("records of the queue", keep.keep_queue_days, _queued),
        ("events", keep.keep_events_days, _stored(history.forget_events)),
        ("answers by Idempotency-Key", KEPT.days, _stored(history.forget_replies)),
        ("notifications", keep.keep_events_days, _stored(history.forget_notifications)),
        ("runs", keep.keep_runs_days, _stored(history.forget_runs)),
    )
    for what, days, act in acts:
        if days == 0:
            continue
        before = now - timedelta(days=days)
        count = 0
        while some := act(service, before):
            count += some
        if count:
            log.info("old records deleted", of=what, count=count, before=before.isoformat())


def _stored(act: Callable[..., int]) -> Callable[[Service, datetime], int]:
    """A transaction for each batch, so that nobody waits long for his turn."""

    def some(service: Service, before: datetime) -> int:
        with service.database.write() as tx:
            return act(tx, before=before, limit=BATCH)

    return some


def _queued(service: Service, before: datetime) -> int:
    """What the queue keeps of runs that are over."""
    ended = service.queue.ended(before, limit=BATCH)
    with service.database.read() as tx:
        over = set(ended) - history.live_among(tx, ended)
    service.queue.forget(sorted(over))
    return len(over)
