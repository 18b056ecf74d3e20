"""Ends the work for a client that has gone, in routes that may take long: nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

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


WhileThere = Annotated[CancelToken, Depends(while_there, scope="function")]
