"""Hostile input: whatever comes, the answer is never a fault of ours."""

import json
import random
from urllib.parse import unquote

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.testclient import TestClient

from convergence.api import problems
from convergence.server import PAGES
from convergence.web.problems import PageRoute

PAGE_ROUTES = [r for page in PAGES for r in page.router.routes if isinstance(r, PageRoute)]
"""They refuse with a page; all else, the API and the pages' files, with a problem document."""
HTML = "text/html"
CASES = 2_000
SEED = 20241101
TEXTS = [
    *("", " ", "\x00", "a\x00b", "..", "../..", "%2e%2e", "%2f", "\\..\\", "a/b", ".", "\u202e"),
    *("' OR 1=1 --", "`x`", "{tenant_id}", "${x}", "{{7*7}}", "<script>", "\r\nA: b", "acme\n"),
    *("\uff41cme", "ACME", "0" * 300, "x" * 5_000, "\ud800", "\U0001d54f", "null", "NaN", "1e999"),
    *("2024-02-30", "2024-11-01T00:00", "-1", "99999999999999999999", "true", "[]", "*", "a.b.c"),
    *("0001-01-01", "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-23:59"),
]  # fmt: skip
RIGHT = {
    "tenant_id": "acme",
    "provider": "gcp",
    "domain": "cost",
    "template_name": "cost_billing",
    "pipeline_id": "acme-gcp-cost-billing",
    "name": "destination_table",
}
SCALARS: list[object] = [None, True, 0, -1, 10**30, 1.5, [], {}, [[]], {"a": {"b": [None]}}]
BODIES = [
    *(b"", b"{", b"[" * 5_000, b'{"a":' * 3_000, b"\xff\xfe", b"NaN", b"Infinity", b"null", b'"x"'),
    *(b"1" * 10_000, b'{"date": 1e999}', b'{"sql": "\\ud800"}', b'{"yaml": "&a [*a, *a]"}'),
]  # fmt: skip
FIELDS = [
    *("date", "trigger_by", "variables", "tenant_id", "company_name", "admin_email", "status"),
    *("table", "files", "kind", "tenants", "yaml", "sql", "value", "key_name", "daily_limit"),
    *("subscription_plan", "expires_in_days", "destination_table", "__proto__"),
]  # fmt: skip
QUERIES = [
    *("limit", "cursor", "status", "pipeline_id", "date_from", "date_to", "tenant_id", "table"),
    *("from", "to", "group_by", "filter", "format", "since", "as_of"),
]  # fmt: skip


def test_nothing_that_is_sent_is_a_fault_of_ours(
    app: FastAPI, operator: TestClient, source: str
) -> None:
    dice = random.Random(SEED)  # noqa: S311 - repeatable cases, no secrets
    app.state.cdp.limit._per_minute = 10 * CASES
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    for case in range(CASES):
        route = dice.choice(routes)
        method, url, body = _request(dice, route)
        request = operator.build_request(method, url, content=body, headers=_type(dice))
        refusal = _kind_of_refusal(app, method, unquote(request.url.path))
        request.headers["Accept"] = refusal
        answer = operator.send(request)
        assert answer.status_code < 500, f"seed {SEED}, case {case}: {method} {url} {body[:200]!r}"
        if answer.status_code >= 400:
            assert answer.headers["Content-Type"].startswith(refusal), f"case {case}: {url}"


def _kind_of_refusal(app: FastAPI, method: str, path: str) -> str:
    """By the route that such a path leads to: hostile words may lead to another than was meant."""
    asked = "GET" if method == "HEAD" else method
    scope = {"type": "http", "path": path, "method": asked, "headers": []}
    matches = (route for route in app.routes if route.matches(scope)[0] is Match.FULL)
    return HTML if next(matches, None) in PAGE_ROUTES else problems.MEDIA_TYPE


def _request(dice: random.Random, route: APIRoute) -> tuple[str, str, bytes]:
    path = "/".join(
        _quoted(_word(dice, part)) if part.startswith("{") else part
        for part in route.path.split("/")
    )
    query = "&".join(
        f"{dice.choice(QUERIES)}={_quoted(dice.choice(TEXTS))}" for _ in range(dice.randrange(3))
    )
    known = sorted(route.methods or ())
    method = dice.choice(known) if dice.random() < 0.9 else dice.choice(["PUT", "DELETE", "HEAD"])
    return method, f"{path}?{query}", _body(dice)


def _word(dice: random.Random, place: str) -> str:
    right = RIGHT.get(place.strip("{}"))
    return right if right and dice.random() < 0.7 else dice.choice(TEXTS)


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def _body(dice: random.Random) -> bytes:
    if dice.random() < 0.3:
        return dice.choice(BODIES)
    names = dice.sample(FIELDS, dice.randrange(6))
    fields = {name: dice.choice([*SCALARS, *TEXTS]) for name in names}
    return json.dumps(fields).encode()


def _type(dice: random.Random) -> dict[str, str]:
    kinds = ["application/json"] * 6 + ["text/plain", "multipart/form-data", "x", ""]
    return {"Content-Type": dice.choice(kinds)}
