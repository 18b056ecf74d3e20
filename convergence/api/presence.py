"""Ends the work for a client that has gone, in routes that may take long: nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from convergence.api.auth import Door
from convergence.engine.costs import Asker
from convergence.errors import Cancelled
from convergence.model.cancel import CancelToken

LOOK_SECONDS = 0.5


async def while_there(request: Request) -> AsyncIterator[CancelToken]:
    """A token that is tripped when the client breaks off. Over before the answer is sent, which
    looks for itself whether somebody takes it.
    """
    token = CancelToken()
    watching = asyncio.create_task(_watch(request, token))
    try:
        yield token
    finally:
        watching.cancel()


async def _watch(request: Request, token: CancelToken) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_SECONDS)
    token.trip(Cancelled("the client has gone", code="client_gone", hint="ask again"))


def asker(door: Door, tenant_id: str, there: CancelToken) -> Asker:
    """The client, of whose tenant so many may ask at once."""
    return Asker(cancel=there, turn=partial(door.state.queries.of, tenant_id))


WhileThere = Annotated[CancelToken, Depends(while_there, scope="function")]
