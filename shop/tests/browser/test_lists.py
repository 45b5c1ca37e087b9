"""Operators upload codes in a browser."""

from collections.abc import Callable
from typing import Any

from coupons.models import PoolCode
from coupons.tests.factories import CampaignFactory
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect
from shop.tests.factories import SuperuserFactory


def choose(page: Any, *codes: str) -> None:
    text = "\n".join(["code", *codes, ""])
    file = {"name": "codes.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Continue").click()


def test_a_file_with_a_bad_row_is_shown_and_adds_nothing(open_page: Callable[..., Any]) -> None:
    campaign = CampaignFactory.create(code_source="pool")
    path = f"/admin/coupons/campaign/{campaign.pk}/upload_codes/"
    page = open_page(path, account=SuperuserFactory.create())
    page.locator("#id_reason").fill("The printer's file.")
    choose(page, "SPRING-1", "=1+1", "SPRING-2")
    expect(page.get_by_text("Line 3")).to_be_visible()
    assert accessibility.findings(page) == []

    choose(page, "SPRING-1", "SPRING-2")
    expect(page.get_by_text("SPRING-1, SPRING-2")).to_be_visible()
    assert accessibility.findings(page) == []
    assert not PoolCode.objects.exists()
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("2 added, 0 skipped, 2 in all.")).to_be_visible()
    assert set(PoolCode.objects.values_list("code", flat=True)) == {"SPRING-1", "SPRING-2"}
