"""The application: routes, errors as BigQuery says them, and the faults that a test planned."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tests.bigquery_rest import job_routes, table_routes
from tests.bigquery_rest.fake import Fake
from tests.bigquery_rest.faults import ApiError, Fault


def build(fake: Fake) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.fake = fake
    app.exception_handler(ApiError)(_refuse)
    app.exception_handler(Exception)(_give_up)
    app.middleware("http")(_meddle)
    app.include_router(table_routes.router)
    app.include_router(job_routes.router)
    return app


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status)


async def _give_up(_: Request, error: Exception) -> JSONResponse:
    """What the fake cannot do must not look like trouble that passes: clients would try on."""
    said = ApiError(501, "notImplemented", f"The fake fails: {type(error).__name__}: {error}")
    return JSONResponse(said.body(), said.status)


async def _meddle(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    fake: Fake = request.app.state.fake
    path = request.url.path
    fake.requests.append((request.method, path))
    fault = fake.faults.due(request.method, path)
    if fault is None:
        return await go_on(request)
    if fault is Fault.LOST:
        await go_on(request)
    return JSONResponse(fault.error.body(), fault.error.status)
