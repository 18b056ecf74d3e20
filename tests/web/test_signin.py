"""Who may look, how one signs in and out, and what other sites cannot do."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from convergence.engine import signin
from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from tests.web.conftest import HERE, Browser

PAGES = ("/runs", "/costs")


@pytest.mark.parametrize("path", PAGES)
def test_page_leads_to_the_sign_in_and_back(browser: Browser, tenant: Onboarded, path: str) -> None:
    asked = browser.get(f"{path}?group=sku", follow_redirects=False)
    assert asked.status_code == 303
    form = browser.get(asked.headers["Location"])
    assert f'name="next" value="{path}?group=sku"' in form.text
    answer = browser.submit("/sign-in", {"key": tenant.api_key, "next": f"{path}?group=sku"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{path}?group=sku")
    assert browser.get(path).status_code == 200


@pytest.mark.parametrize(
    "back",
    ["//evil.example/", "https://evil.example", "/\\evil.example", "elsewhere", "/a\r\nX: y"],
)
def test_sign_in_leads_nowhere_else(browser: Browser, tenant: Onboarded, back: str) -> None:
    answer = browser.submit("/sign-in", {"key": tenant.api_key, "next": back})
    assert answer.headers["Location"] == "/"
    assert back not in browser.get("/sign-in", params={"next": back}).text


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(
    browser: Browser, tenant: Onboarded
) -> None:
    cookie = browser.submit("/sign-in", {"key": tenant.api_key}).headers["Set-Cookie"]
    assert cookie.startswith("cdp_session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert tenant.api_key not in cookie


def test_over_https_the_cookie_is_the_hosts_own(app: FastAPI, tenant: Onboarded) -> None:
    with TestClient(app, base_url="https://testserver", client=HERE) as browser:
        cookie = browser.post(
            "/sign-in",
            data={"key": tenant.api_key},
            headers={"Origin": "https://testserver"},
            follow_redirects=False,
        ).headers["Set-Cookie"]
        assert cookie.startswith("__Host-cdp=")
        assert "Secure" in cookie.split("; ")
        assert browser.get("/runs").status_code == 200


def test_wrong_key_is_told_and_may_be_tried_five_times(browser: Browser, tenant: Onboarded) -> None:
    for _ in range(5):
        answer = browser.submit("/sign-in", {"key": "cdp_test_junk"})
        assert answer.status_code == 401
        assert "Invalid or inactive API key" in answer.text
        assert "cdp_test_junk" not in answer.text
    assert browser.submit("/sign-in", {"key": tenant.api_key}).status_code == 429


def test_link_signs_in_whoever_opens_it_first(browser: Browser, service: Service) -> None:
    link = signin.make_link(service, None)
    assert browser.get(link, follow_redirects=False).headers["Location"] == "/"
    assert browser.get("/runs").status_code == 200
    again = browser.get(link)
    assert again.status_code == 401
    assert "has been used" in again.text


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Purpose": "prefetch"}])
def test_link_that_another_site_opens_asks_first(
    browser: Browser, service: Service, headers: dict[str, str]
) -> None:
    link = signin.make_link(service, None)
    page = browser.get(link, headers=headers)
    assert (page.status_code, "Sign in with this link" in page.text) == (200, True)
    assert "set-cookie" not in page.headers
    token = link.partition("link=")[2]
    assert browser.submit("/sign-in", {"link": token}).status_code == 303


def test_sign_out_ends_the_session(acme: Browser) -> None:
    kept = acme.cookies["cdp_session"]
    answer = acme.submit("/sign-out", {"form_token": acme.form_token()})
    assert answer.headers["Location"] == "/sign-in"
    acme.cookies.set("cdp_session", kept)
    assert acme.get("/runs", follow_redirects=False).status_code == 303


@pytest.mark.parametrize(
    ("origin", "token"),
    [("http://evil.example", None), ("null", None), ("", None), ("http://testserver", "00")],
)
def test_form_of_another_site_is_refused(acme: Browser, origin: str, token: str | None) -> None:
    fields = {"form_token": token or acme.form_token()}
    answer = acme.submit("/sign-out", fields, origin=origin)
    assert (answer.status_code, "foreign_form" in answer.text) == (403, True)
    assert acme.get("/runs", follow_redirects=False).status_code == 200


def test_another_site_cannot_sign_a_visitor_in(browser: Browser, tenant: Onboarded) -> None:
    answer = browser.submit("/sign-in", {"key": tenant.api_key}, origin="http://evil.example")
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_operator_makes_links_through_the_api(
    browser: Browser, service: Service, tenant: Onboarded
) -> None:
    admin = {"X-Admin-Key": service.secrets.admin_key}
    made = browser.post("/api/v1/sign-in-links", json={"tenant_id": "acme"}, headers=admin)
    assert made.status_code == 201
    assert made.json()["url"].startswith("http://testserver/sign-in?link=")
    assert browser.get(made.json()["url"], follow_redirects=False).status_code == 303
    for_operator = browser.post("/api/v1/sign-in-links", headers=admin)
    assert for_operator.status_code == 201
    key = {"X-API-Key": tenant.api_key}
    assert browser.post("/api/v1/sign-in-links", headers=key).status_code == 403


def test_without_authentication_nobody_signs_in(open_browser: Browser) -> None:
    assert open_browser.get("/runs").status_code == 200
    assert open_browser.get("/sign-in", follow_redirects=False).headers["Location"] == "/"


def test_without_authentication_pages_of_other_sites_see_nothing(open_browser: Browser) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert open_browser.get("/runs", headers=headers).status_code == 403
