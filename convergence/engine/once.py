"""Do what a request asks once, however often it is sent with the same Idempotency-Key."""

from collections.abc import Callable, Mapping
from datetime import datetime

from convergence.engine.launch import Launched, admit, ask, launch, with_kinds
from convergence.engine.renew import renewed
from convergence.engine.retry import admit_retry, ask_retry, retry
from convergence.engine.service import Service
from convergence.errors import QuotaExceeded
from convergence.model.reply import ABANDONED, KeyedRequest, Reply
from convergence.model.run import LaunchRequest, RetryRequest
from convergence.model.source import Kind
from convergence.outside.logs import Log
from convergence.store import replies
from convergence.store.database import WriteTx

Answer = Callable[[Launched], Reply]

RENEW_SECONDS = ABANDONED.total_seconds() / 4

log = Log(__name__)


def launch_once(
    service: Service, request: LaunchRequest, asked: KeyedRequest | None, answer: Answer
) -> Reply:
    """`launch`, and its answer, kept in the transaction that admits the run.

    Raises as `launch` does, and then keeps nothing; Conflict while the first request is under
    way, and Invalid when the key has asked for something else.
    """
    if asked is None:
        return answer(launch(service, request))
    if (reply := _kept(service, asked)) is not None:
        return reply
    found = ask(service, request)

    def act(kinds: Mapping[str, Kind]) -> Reply:
        return _admit_once(service, asked, lambda tx: admit(service, tx, found, kinds), answer)

    return with_kinds(service, act)


def retry_once(
    service: Service, request: RetryRequest, asked: KeyedRequest | None, answer: Answer
) -> Reply:
    """`retry`, as `launch_once`."""
    if asked is None:
        return answer(retry(service, request))
    if (reply := _kept(service, asked)) is not None:
        return reply
    found = ask_retry(service, request)
    return _admit_once(service, asked, lambda tx: admit_retry(service, tx, found), answer)


def once(
    service: Service, asked: KeyedRequest | None, act: Callable[[], Reply], *, shown_once: str = ""
) -> Reply:
    """What `act` answers, kept when it does not raise. It has transactions of its own.

    `shown_once` names a field of the body that is kept as null. Raises as `act` does, and what
    `launch_once` raises for the key.
    """
    if asked is None:
        return act()
    if (reply := _kept(service, asked)) is not None:
        return reply
    hold = _Hold(service, asked, taken_at=service.clock.now())
    with service.database.write() as tx:
        reply = replies.take(tx, asked, now=hold.taken_at)
    if reply is not None:
        return reply
    try:
        with renewed("key of a request", hold.renew, seconds=RENEW_SECONDS):
            reply = act()
    except BaseException:
        with service.database.write() as tx:
            replies.forget(tx, asked, taken_at=hold.taken_at)
        raise
    body = {**reply.body, shown_once: None} if shown_once else reply.body
    with service.database.write() as tx:
        replies.keep(tx, asked, Reply(status=reply.status, body=body), taken_at=hold.taken_at)
    return reply


class _Hold:
    """A key that this request took, at `taken_at` for the last time."""

    def __init__(self, service: Service, asked: KeyedRequest, *, taken_at: datetime) -> None:
        self._service = service
        self._asked = asked
        self.taken_at = taken_at

    def renew(self) -> None:
        """Nobody takes the key for abandoned, however long the request takes."""
        now = self._service.clock.now()
        with self._service.database.write() as tx:
            is_mine = replies.renew(tx, self._asked, taken_at=self.taken_at, now=now)
        if is_mine:
            self.taken_at = now


def _admit_once(
    service: Service,
    asked: KeyedRequest,
    admit_within: Callable[[WriteTx], Launched | QuotaExceeded],
    answer: Answer,
) -> Reply:
    """Take the key, admit and keep the answer, all or nothing. Raises QuotaExceeded."""
    now = service.clock.now()

    def act(tx: WriteTx) -> Reply | QuotaExceeded:
        if (reply := replies.take(tx, asked, now=now)) is not None:
            return reply
        admitted = admit_within(tx)
        if isinstance(admitted, QuotaExceeded):
            replies.forget(tx, asked, taken_at=now)
            return admitted
        reply = answer(admitted)
        replies.keep(tx, asked, reply, taken_at=now)
        return reply

    with service.database.write() as tx:
        outcome = act(tx)
    if isinstance(outcome, QuotaExceeded):
        raise outcome
    return outcome


def _kept(service: Service, asked: KeyedRequest) -> Reply | None:
    """Without standing in line: most requests with a known key are repetitions."""
    with service.database.read() as tx:
        return replies.find(tx, asked, now=service.clock.now())
