"""What one sees and does: figures, a way down, a run that ends before one's eyes, on any screen."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SECONDS, Seen, Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

expect.set_options(timeout=SECONDS * 1000)

PAGES = (
    "/",
    "/costs",
    "/costs?group=sku&filter=service%3DCOMP",
    "/lineage",
    "/quality",
    "/runs",
    "/runs/{run}",
    "/nowhere",
)
MOST_REQUESTS, MOST_BYTES = 6, 350_000
CUT_OFF = """[...document.querySelectorAll("table.runs, table.costs, table.rows")]
    .filter((it) => it.parentElement.scrollWidth > it.parentElement.clientWidth)
    .map((it) => it.className)"""
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()


def fits(page: Page, width: int) -> bool:
    """Whether the page is no wider; a chart takes its new width a moment later."""
    for _ in range(100):
        if page.evaluate("document.documentElement.scrollWidth") <= width:
            return True
        page.wait_for_timeout(100)
    return False


def first_run(page: Page, site: Site) -> str:
    page.goto(f"{site.url}/runs")
    return page.locator("th .id").last.inner_text()


def test_from_the_overview_to_a_service_and_its_rows(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/")
    expect(page.locator("figure[data-ready] svg").first).to_be_visible()
    expect(page.get_by_text("Reconciled with the source").first).to_be_visible()
    page.locator(".legend").first.get_by_role("link", name="Compute").click()
    expect(page.locator(".chips")).to_contain_text("Compute")
    expect(page.locator("table.costs").first).to_contain_text("Cores")
    page.locator("table.costs").first.get_by_role("link", name="Cores").click()
    expect(page.locator("table.costs").first).to_contain_text("proj")


def test_bar_of_the_chart_leads_to_its_service(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/costs")
    expect(page.locator("figure[data-ready]").first).to_be_visible()
    bars = page.locator("figure[data-ready] .drawing svg path[fill]:not([fill=none])")
    colour = page.locator(".legend i.s1").first.evaluate(
        "it => getComputedStyle(it).backgroundColor"
    )
    name = page.locator(".legend li", has=page.locator("i.s1")).first.inner_text()
    tall = [bar for bar in bars.all() if bar.evaluate("it => getComputedStyle(it).fill") == colour]
    tall[-1].click()
    expect(page.locator(".chips")).to_contain_text(name)


def test_list_is_asked_for_when_its_stream_fails(chromium: Browser, site: Site) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site.link())
    answers = iter([{"status": 200, "content_type": "text/event-stream", "body": ""}])
    page.route("**/events/runs*", lambda route: route.fulfill(**next(answers, {"status": 503})))
    page.goto(f"{site.url}/runs")
    with page.expect_request(lambda asked: asked.url == f"{site.url}/runs"):
        page.evaluate("window.isTheSame = true")
    run_id = site.run(site.days[1])
    expect(page.locator(f"#run-{run_id}")).to_be_visible()
    assert page.evaluate("window.isTheSame")
    context.close()


def test_keys_lead_to_pages_until_they_are_turned_off(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/costs")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page).to_have_url(f"{site.url}/runs")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("gc")
    expect(page).to_have_url(f"{site.url}/runs")
    page.get_by_role("button", name="Keys").click()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).not_to_be_focused()


def test_run_appears_and_completes_without_a_reload(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/runs")
    page.evaluate("window.isTheSame = true")
    run_id = site.run(site.days[2])
    row = page.locator(f"#run-{run_id}")
    expect(row).to_be_visible()
    expect(row).to_contain_text("COMPLETED")
    assert page.evaluate("window.isTheSame")


def test_live_run_ends_on_its_own_page(page: Page, site: Site) -> None:
    run_id = site.run(site.days[0])
    page.goto(f"{site.url}/runs/{run_id}")
    expect(page.locator(".big")).to_contain_text("COMPLETED")
    expect(page.locator(".log")).to_contain_text("run completed")
    expect(page.locator(".proofs")).to_contain_text("equal")


@pytest.mark.parametrize(("theme", "width", "other"), [("light", 1024, 360), ("dark", 360, 1024)])
def test_pages_are_accessible_and_fit(
    chromium: Browser, site: Site, theme: str, width: int, other: int
) -> None:
    context = chromium.new_context(
        color_scheme=theme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 800},
        bypass_csp=False,
    )
    page = context.new_page()
    page.goto(f"{site.url}/sign-in")
    paths = ["/sign-in", *PAGES]
    run_id = ""
    for number, path in enumerate(paths):
        if number == 1:
            page.goto(site.link())
            run_id = first_run(page, site)
        page.goto(site.url + path.format(run=run_id))
        page.evaluate(AXE)
        found = page.evaluate("axe.run().then((found) => found.violations)")
        told = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
        assert told == [], path
        for shown in (width, other):
            page.set_viewport_size({"width": shown, "height": 800})
            assert fits(page, shown), path
            assert shown < 1024 or page.evaluate(CUT_OFF) == [], path
        page.set_viewport_size({"width": width, "height": 800})
    context.close()


def test_first_view_is_light(chromium: Browser, site: Site, seen: Seen) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site.link())
    for path in ("/", "/costs", "/runs"):
        fresh = context.browser.new_context(storage_state=context.storage_state())  # type: ignore[union-attr]
        view = fresh.new_page()
        seen.requests.clear()
        seen.sizes.clear()
        seen.watch(view)
        view.goto(site.url + path)
        view.wait_for_load_state("load")
        assert len(seen.requests) <= MOST_REQUESTS, seen.requests
        assert sum(seen.sizes.values()) <= MOST_BYTES, seen.sizes
        fresh.close()
    context.close()


def test_pages_read_without_scripts(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.link())
    page.goto(f"{site.url}/")
    expect(page.get_by_text("Reconciled with the source").first).to_be_visible()
    page.get_by_text("Show as table").first.click()
    expect(page.locator(".figures table").first).to_be_visible()
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(page.locator("table.runs")).to_contain_text("COMPLETED")
    page.locator("th .id").first.click()
    expect(page.get_by_role("heading", name="Steps")).to_be_visible()
    context.close()


def test_theme_is_chosen_and_kept(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/runs")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme").click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_keyboard_skips_to_the_content(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_a_tenant_cannot_reach_another_by_address(chromium: Browser, site: Site) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site.link())
    run_id = first_run(page, site)
    page.goto(f"{site.url}/?tenant=rival")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    context.clear_cookies()
    page.goto(site.link("rival"))
    page.goto(f"{site.url}/runs/{run_id}")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    context.close()


def test_sign_in_with_a_key_and_sign_out(chromium: Browser, site: Site) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/costs?group=sku")
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/costs\?group=sku$"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{site.url}/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
