"""Do what a request asks once, however often it is sent with the same Idempotency-Key."""

from collections.abc import Callable, Mapping

from convergence.engine.launch import Launched, admit, ask, launch, with_kinds
from convergence.engine.service import Service
from convergence.errors import QuotaExceeded
from convergence.model.reply import KeyedRequest, Reply
from convergence.model.run import LaunchRequest
from convergence.model.source import Kind
from convergence.store import replies


def launch_once(
    service: Service,
    request: LaunchRequest,
    asked: KeyedRequest | None,
    answer: Callable[[Launched], Reply],
) -> Reply:
    """`launch`, and its answer, kept in the transaction that admits the run.

    Raises as `launch` does, and then keeps nothing; Invalid when the key has asked for something
    else.
    """
    if asked is None:
        return answer(launch(service, request))
    if (reply := _kept(service, asked)) is not None:
        return reply
    found = ask(service, request)

    def act(kinds: Mapping[str, Kind]) -> Reply | QuotaExceeded:
        with service.database.write() as tx:
            if (reply := replies.take(tx, asked, now=service.clock.now())) is not None:
                return reply
            admitted = admit(service, tx, found, kinds)
            if isinstance(admitted, QuotaExceeded):
                replies.forget(tx, asked)
                return admitted
            reply = answer(admitted)
            replies.keep(tx, asked, reply)
            return reply

    outcome = with_kinds(service, act)
    if isinstance(outcome, QuotaExceeded):
        raise outcome
    return outcome


def once(
    service: Service, asked: KeyedRequest | None, act: Callable[[], Reply], *, shown_once: str = ""
) -> Reply:
    """What `act` answers, kept when it does not raise. It has transactions of its own.

    `shown_once` names a field of the body that is kept as null. Raises as `act` does,
    Conflict while the first request is under way, and as `launch_once` does.
    """
    if asked is None:
        return act()
    if (reply := _kept(service, asked)) is not None:
        return reply
    with service.database.write() as tx:
        reply = replies.take(tx, asked, now=service.clock.now())
    if reply is not None:
        return reply
    try:
        reply = act()
    except BaseException:
        with service.database.write() as tx:
            replies.forget(tx, asked)
        raise
    body = {**reply.body, shown_once: None} if shown_once else reply.body
    with service.database.write() as tx:
        replies.keep(tx, asked, Reply(status=reply.status, body=body))
    return reply


def _kept(service: Service, asked: KeyedRequest) -> Reply | None:
    """Without standing in line: most requests with a known key are repetitions."""
    with service.database.read() as tx:
        return replies.find(tx, asked, now=service.clock.now())
