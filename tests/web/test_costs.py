"""The page of costs: grouped, filtered, one level down, and as a file."""

import csv
import io
import re
from decimal import Decimal

import pytest

from convergence.model.run import Status
from tests.web.conftest import Bill, bill_lines, launch_run
from tests.web.test_overview import text_of


def test_services_are_ranked_with_share_and_change(bill: Bill) -> None:
    page = bill.browser.get("/costs?from=2024-11-01&to=2024-11-04").text
    read = text_of(page[page.index('class="costs"') :])
    assert re.search(r"Compute COMP 36.00 50.7 % .*? 40.00 .4.00 4", read)
    assert re.search(r"STOR 35.00 49.3 %", read)
    assert "EUR" in read


def test_a_month_is_a_period_before_it_is_over(bill: Bill) -> None:
    page = bill.browser.get("/costs?from=2024-11-01&to=2024-11-30")
    assert page.status_code == 200
    assert re.search(r"STOR 35.00", text_of(page.text))


def test_a_click_filters_and_leads_one_level_down(bill: Bill) -> None:
    page = bill.browser.get("/costs").text
    (link,) = set(re.findall(r'<th scope="row"><a href="([^"]*COMP[^"]*)"', page))
    below = bill.browser.get(link.replace("&amp;", "&"))
    assert "group=sku" in link
    read = text_of(below.text)
    assert "Service Compute" in read
    assert "Cores" in read
    assert "Disk" not in read


def test_filter_can_be_removed(bill: Bill) -> None:
    page = bill.browser.get("/costs?group=sku&filter=service%3DCOMP").text
    assert re.search(r'aria-label="Remove the filter Service Compute"', page)


def test_what_has_no_project_is_a_group_of_its_own(bill: Bill) -> None:
    page = bill.browser.get("/costs?group=project").text
    assert "(none)" in page
    assert "filter=project%3D" in page
    only = text_of(bill.browser.get("/costs?group=service&filter=project%3D").text)
    assert "EUR" in only
    assert "USD" not in only


@pytest.mark.parametrize(
    "group", ["service", "project", "sku", "region", "cost_type", "invoice_month"]
)
def test_file_holds_every_digit_and_no_formula(bill: Bill, group: str) -> None:
    answer = bill.browser.get(f"/costs.csv?group={group}&from=2024-10-01&to=2024-11-04")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    whole = sum(Decimal(row["net"]) for row in rows if row["currency"] == "USD")
    assert whole == Decimal("141.000000009")
    assert not re.search(r"(^|,)=", answer.text, re.MULTILINE)
    if group == "sku":
        assert "'=Disk" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2024-11-02&to=2024-11-01",
        "from=2010-01-01&to=2024-11-01",
        "group=day",
        "group=label",
        "filter=x%3D1",
        "most=0",
    ],
)
def test_what_cannot_be_shown_is_said(bill: Bill, query: str) -> None:
    page = bill.browser.get(f"/costs?{query}")
    assert page.status_code == 422
    assert "That cannot be shown" in page.text


def test_period_without_costs_says_so(bill: Bill) -> None:
    page = bill.browser.get("/costs?from=2023-01-01&to=2023-01-31").text
    assert "No costs in this period" in page


def test_another_tenants_costs_are_not_there(bill: Bill) -> None:
    for path in ("/costs?tenant=rival", "/costs.csv?tenant=rival", "/?tenant=rival"):
        assert bill.browser.get(path).status_code == 404


def test_day_that_is_loaded_again_is_shown_at_once(bill: Bill) -> None:
    day = bill.runs[4].run_date
    path = f"/costs.csv?from={day}&to={day}"
    before = bill.browser.get(path).text
    file = bill.service.home.path.parent / "a.csv"
    kept = file.read_text()
    try:
        dearer = bill_lines(day)[0].replace(",10,USD", ",11,USD")
        file.write_text(kept.replace(bill_lines(day)[0], dearer))
        assert launch_run(bill.service, day).status is Status.COMPLETED
        after = bill.browser.get(path).text
    finally:
        file.write_text(kept)
        assert launch_run(bill.service, day).status is Status.COMPLETED
    assert ",10.000000000,-1.000000000,9.000000000" in before
    assert ",11.000000000,-1.000000000,10.000000000" in after
    assert bill.browser.get(path).text == before
