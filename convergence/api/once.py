"""The header Idempotency-Key, which makes it safe to send a request that creates again."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from convergence.api.auth import Door
from convergence.engine.launch import Launched
from convergence.engine.once import launch_once, once, retry_once
from convergence.model.reply import KeyedRequest, Reply
from convergence.model.run import LaunchRequest, RetryRequest

Show = Callable[[Launched], BaseModel]

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Sent again with this key within 48 hours, the same request is not done again: "
        "it gets the first one's answer, with `Idempotency-Replayed: true`",
    ),
]


class Sent:
    """A request with its key, if it has one."""

    def __init__(self, request: Request, key: Key = None) -> None:
        self._request = request
        self._key = key

    def create(
        self, door: Door, wanted: BaseModel, act: Callable[[], BaseModel], *, shown_once: str = ""
    ) -> JSONResponse:
        """201 with what `act` gives; `shown_once` is a field that a replay lacks."""

        def answer() -> Reply:
            return Reply(status=201, body=act().model_dump(mode="json"))

        return _response(
            once(door.service, self._asked(door, wanted), answer, shown_once=shown_once)
        )

    def launch(
        self, door: Door, wanted: BaseModel | None, request: LaunchRequest, show: Show
    ) -> JSONResponse:
        """202 with what is shown of a new run, 200 of a live one."""
        asked = self._asked(door, wanted)
        return _response(launch_once(door.service, request, asked, _answer(show)))

    def retry(
        self, door: Door, wanted: BaseModel | None, request: RetryRequest, show: Show
    ) -> JSONResponse:
        """As `launch`."""
        asked = self._asked(door, wanted)
        return _response(retry_once(door.service, request, asked, _answer(show)))

    def _asked(self, door: Door, wanted: BaseModel | None) -> KeyedRequest | None:
        if self._key is None:
            return None
        body = wanted.model_dump(mode="json") if wanted else None
        asked = json.dumps([self._request.url.path, body], sort_keys=True)
        return KeyedRequest(
            tenant_id=door.caller.tenant_id or "",
            route=self._request.scope["route"].operation_id,
            key=self._key,
            digest=hashlib.sha256(asked.encode()).hexdigest(),
        )


Sending = Annotated[Sent, Depends(Sent)]


def _answer(show: Show) -> Callable[[Launched], Reply]:
    def answer(launched: Launched) -> Reply:
        status = 202 if launched.is_new else 200
        return Reply(status=status, body=show(launched).model_dump(mode="json"))

    return answer


def _response(reply: Reply) -> JSONResponse:
    headers = {"Idempotency-Replayed": "true"} if reply.is_replay else None
    return JSONResponse(dict(reply.body), status_code=reply.status, headers=headers)
