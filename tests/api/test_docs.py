"""The API's own description: whole, and from this server alone."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from convergence import api

ROOM = Path(str(api.__file__)).parent
ALWAYS = {"400", "401", "403", "404", "405", "408", "409", "413", "422", "429", "500", "503"}


def test_every_route_declares_every_error(http: TestClient, app: FastAPI) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    shown = [
        route for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema
    ]
    assert {route.path for route in shown} == paths.keys()
    for path in paths.values():
        for operation in path.values():
            assert operation["responses"].keys() >= ALWAYS
            assert list(operation["responses"]["500"]["content"]) == ["application/problem+json"]
            assert any(status.startswith("2") for status in operation["responses"])


def test_operations_have_ids_of_their_own_and_say_which_key_they_take(http: TestClient) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    security = {operation["operationId"]: operation["security"] for operation in operations}
    assert security["health"] == []
    assert security["put_source"] == [{"adminKey": []}]
    assert {"apiKey": []} in security["run_template"]


def test_every_reference_in_the_document_leads_somewhere(http: TestClient) -> None:
    text = http.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/([^\"]+)", text)) <= schemas.keys()


def test_the_examples_are_those_of_the_source_documents(http: TestClient) -> None:
    schemas = http.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["RunIn"]["examples"] == [{"date": "2024-11-01", "trigger_by": "docker_test"}]


def test_the_pages_load_nothing_from_outside(http: TestClient) -> None:
    page = http.get("/docs")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert link.startswith("/")
        assert http.get(link).status_code == 200, link


def test_what_was_not_written_here_is_as_it_was_published() -> None:
    vendor = tomllib.loads((ROOM / "vendor.toml").read_text())
    for name, digest in vendor["files"].items():
        content = (ROOM / "static" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, name
    ours = {"docs.html", "docs.js"}
    assert {file.name for file in (ROOM / "static").iterdir()} == vendor["files"].keys() | ours


def test_the_welcome_leads_on(http: TestClient) -> None:
    told = http.get("/", headers={"Accept": "application/json"}).json()
    assert http.get(told["docs"]).status_code == http.get(told["health"]).status_code == 200
