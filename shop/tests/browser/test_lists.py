"""Operators upload codes in a browser."""

from collections.abc import Callable
from typing import Any

from coupons.admin.uploads import PIECE_LINES
from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.test_board import NOTE_CHANGES
from shop.tests.factories import SuperuserFactory


def upload_page(open_page: Callable[..., Any], campaign: Campaign) -> Any:
    path = f"/admin/coupons/campaign/{campaign.pk}/upload_codes/"
    return open_page(path, account=SuperuserFactory.create())


def choose(page: Any, *codes: str) -> None:
    text = "\n".join(["code", *codes, ""])
    file = {"name": "codes.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("#code-file").set_input_files(file)


def test_a_file_with_a_bad_row_is_shown_and_adds_nothing(open_page: Callable[..., Any]) -> None:
    campaign = CampaignFactory.create(code_source="pool")
    page = upload_page(open_page, campaign)
    choose(page, "SPRING-1", "=1+1", "SPRING-2")
    result = page.locator("#check-result")
    expect(result.locator("li", has_text="line 3")).to_be_visible()
    expect(page.locator("#add")).to_be_hidden()
    assert accessibility.findings(page) == []

    choose(page, "SPRING-1", "SPRING-2")
    expect(result.locator("li")).to_have_text(["SPRING-1", "SPRING-2"])
    page.locator("#add").click()
    expect(page.locator("#no-reason")).to_contain_text("Enter the reason first")
    expect(page.locator("#id_reason")).to_be_focused()
    assert not PoolCode.objects.exists()
    page.locator("#id_reason").fill("The printer's file.")
    page.locator("#add").click()
    expect(page.locator("#add-result")).to_be_visible()
    expect(page.locator("#add-progress")).to_have_js_property("value", 1)
    expect(page.locator("#add-result dd").first).to_have_text("2")
    assert set(PoolCode.objects.values_list("code", flat=True)) == {"SPRING-1", "SPRING-2"}
    assert accessibility.findings(page) == []


def test_the_progress_of_a_long_file_is_seen(open_page: Callable[..., Any]) -> None:
    campaign = CampaignFactory.create(code_source="pool")
    page = upload_page(open_page, campaign)
    codes = [f"SPRING-{number:06}" for number in range(2 * PIECE_LINES + 10)]
    page.locator("#check-state").evaluate(NOTE_CHANGES)
    choose(page, *codes)
    expect(page.locator("#add")).to_be_visible()
    assert len(page.evaluate("window.changes")) >= 3
    page.locator("#add-state").evaluate(NOTE_CHANGES)
    page.locator("#id_reason").fill("The printer's file.")
    page.locator("#add").click()
    expect(page.locator("#add-result dd").first).to_have_text(f"{len(codes):,}")
    assert len(page.evaluate("window.changes")) >= 3
    assert PoolCode.objects.filter(campaign=campaign).count() == len(codes)
