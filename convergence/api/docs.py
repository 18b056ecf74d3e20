"""The API's own pages: what it takes and answers, from this server alone."""

from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope
from typing_extensions import override

from convergence import __version__
from convergence.api import auth, problems, wire
from convergence.api.auth import Public

router = APIRouter(tags=["docs"], include_in_schema=False)

STATIC = Path(__file__).parent / "static"
FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "docs.js": "text/javascript",
    "favicon.png": "image/png",
}
# Swagger UI sets style attributes and draws its icons as data addresses.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
WELCOME = "Welcome to Convergence Data Pipeline"
ERRORS = (400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 503)
KEYS: dict[object, list[dict[str, list[str]]]] = {
    auth.operator: [{"adminKey": []}],
    auth.tenant: [{"apiKey": []}, {"bearer": []}, {"adminKey": []}],
    auth.anyone: [{"apiKey": []}, {"bearer": []}, {"adminKey": []}],
}
SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "adminKey": {"type": "apiKey", "in": "header", "name": "X-Admin-Key"},
}
METHODS = {"get", "put", "post", "patch", "delete"}


class ForPrograms(APIRoute):
    """Matches who asks for JSON; a browser, and who takes anything, gets the dashboard."""

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        accepted = Headers(scope=scope).get("Accept", "")
        if "application/json" not in accepted or "text/html" in accepted:
            return Match.NONE, {}
        return super().matches(scope)


def welcome(_service: Public) -> dict[str, str]:
    return {
        "message": WELCOME,
        "version": __version__,
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
    }


router.add_api_route("/", welcome, route_class_override=ForPrograms)


@router.get("/openapi.json")
def openapi(_service: Public, request: Request) -> dict[str, Any]:
    app: FastAPI = request.app
    return app.openapi()


@router.get("/docs")
def docs(_service: Public) -> FileResponse:
    return FileResponse(
        STATIC / "docs.html", media_type="text/html", headers={"Content-Security-Policy": POLICY}
    )


@router.get("/docs/{name}")
def asset(_service: Public, name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    kept = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(STATIC / name, media_type=FILES[name], headers=kept)


def describe(routes: Iterable[APIRoute]) -> dict[str, Any]:
    """The OpenAPI document: every route with its keys, and every error it may answer."""
    routes = list(routes)
    document = get_openapi(
        title="Convergence Data Pipeline",
        version=__version__,
        description="Every tenant's cloud bill in its own tables: once, on time and exact.",
        routes=routes,
    )
    schemas = document["components"]["schemas"]
    for kind in (wire.Problem, wire.QuotaProblem, wire.RateProblem, wire.ReadinessProblem):
        made = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(made.pop("$defs", {}))
        schemas[kind.__name__] = made
    document["components"]["securitySchemes"] = SCHEMES
    errors = {str(status): _error(status) for status in ERRORS}
    keys = {route.operation_id: _keys(route) for route in routes}
    for path in document["paths"].values():
        for operation in (path[method] for method in METHODS & path.keys()):
            operation["responses"] = {**errors, **_own(operation["responses"])}
            operation["security"] = keys[operation["operationId"]]
    return document


def _own(responses: dict[str, Any]) -> dict[str, Any]:
    """What the route itself answers; the framework's own form of 422 is not ours."""
    return {status: said for status, said in responses.items() if status != "422"}


def _keys(route: APIRoute) -> list[dict[str, list[str]]]:
    (kind,) = auth.kinds_of(route)
    return KEYS.get(kind, [])


def _error(status: int) -> dict[str, Any]:
    names = {429: ("QuotaProblem", "RateProblem"), 503: ("Problem", "ReadinessProblem")}
    refs = [{"$ref": f"#/components/schemas/{name}"} for name in names.get(status, ("Problem",))]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {problems.MEDIA_TYPE: {"schema": schema}},
    }
