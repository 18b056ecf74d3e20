"""The first page: figures of the month, what is proven, what needs care, how one begins."""

import re

from convergence.engine.onboard import Onboarded
from convergence.engine.service import Service
from convergence.model.load import NO_SOURCE, LoadKey
from convergence.store import incomplete
from tests.web.conftest import DAYS, Bill, Browser


def text_of(page: str) -> str:
    """What one reads of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>|&nbsp;", " ", page))


def test_month_to_date_is_net_and_beside_the_same_days_of_last_month(bill: Bill) -> None:
    read = text_of(bill.browser.get("/").text)
    # Four days of 10 - 1 and 5.000000001, the last with 20.000000001 in place of 5.
    assert "71.00 USD" in read
    assert "+26.8 % against 56.00 in the same days of last month" in read
    assert "10.00 EUR" in read


def test_last_day_stands_beside_the_median_of_the_week_before(bill: Bill) -> None:
    read = text_of(bill.browser.get("/").text)
    assert "4 Nov, the last day 29.00 USD +107.1 % against 14.00" in read


def test_sum_is_proven_to_the_last_digit(bill: Bill) -> None:
    page = bill.browser.get("/").text
    assert 'title="71.000000004"' in page
    read = text_of(page)
    assert read.count("Reconciled with the source") == 2
    assert "difference 0" in read
    assert "newest export row 4 Nov 05:00" in read


def test_unusual_day_needs_attention(bill: Bill) -> None:
    page = bill.browser.get("/").text
    assert "29.00 USD on 4 Nov, +107.1 % against the median of the week before" in text_of(page)
    assert 'href="/costs?from=2024-11-04&amp;to=2024-11-04"' in page


def test_a_day_that_lacks_rows_needs_attention(bill: Bill) -> None:
    key = LoadKey(table="billing_cost_daily", day=DAYS[-1], source=NO_SOURCE)
    run_id, now = bill.runs[0].run_id, bill.service.clock.now()
    with bill.service.database.write() as tx:
        incomplete.note(tx, "acme", key, run_id=run_id, code="source_shrank", now=now)
    try:
        overview, costs = (bill.browser.get(path).text for path in ("/", "/costs"))
    finally:
        with bill.service.database.write() as tx:
            incomplete.clear(tx, "acme", key)
    assert "Costs of 4 Nov 2024 may lack rows of query: source_shrank" in text_of(overview)
    assert "Reconciled, but for days that lack rows" in text_of(overview)
    assert "could not be loaded: 4 Nov 2024 (source_shrank)" in text_of(costs)
    assert all(f'href="/runs/{run_id}"' in page for page in (overview, costs))


def test_chart_has_its_figures_in_a_table_and_in_a_sentence(bill: Bill) -> None:
    page = bill.browser.get("/").text
    assert page.count("data-chart=") == 2
    assert "USD from 6 Oct 2024 to 4 Nov 2024. Most:" in page
    table = text_of(page[page.index("Show as table") :])
    assert "4 Nov 20.00 9.00 29.00" in table or "4 Nov 9.00 20.00 29.00" in table


def test_a_name_from_the_bill_is_text_everywhere(bill: Bill) -> None:
    for path in ("/", "/costs", "/runs", f"/runs/{bill.runs[0].run_id}"):
        page = bill.browser.get(path).text
        assert "<script>" not in page
        assert "<b>me" not in page


def test_tenant_without_costs_reads_how_to_begin(acme: Browser) -> None:
    page = acme.get("/").text
    assert "No costs yet" in page
    assert "cdp sources add" in page
    assert "--tenant acme" in page


def test_operator_without_a_tenant_reads_how_to_make_one(
    browser: Browser, service: Service
) -> None:
    browser.submit("/sign-in", {"key": service.secrets.admin_key})
    assert "cdp tenants onboard mycorp" in browser.get("/").text


def test_programs_that_ask_for_json_are_welcomed(browser: Browser) -> None:
    answer = browser.get("/", headers={"Accept": "application/json"})
    assert answer.json()["docs"] == "/docs"


def test_operator_chooses_a_tenant_and_keeps_it(operator: Browser, rival: Onboarded) -> None:
    page = operator.get("/?tenant=rival").text
    assert "--tenant rival" in page
    assert 'href="/runs?tenant=rival"' in page
    assert operator.get("/?tenant=nobody").status_code == 404
