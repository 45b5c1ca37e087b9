"""The pictures in docs/images show pages of a shop that is filled here; `PICTURES=write` takes them anew."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from scripts.docs_site import DOCS
from scripts.stack import places
from shop.tests.browser import picture_shop
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.picture_shop import PictureShop

FOLDER = DOCS / "images"
SHOWN = re.compile(r"!\[[^\]]{20,}\]\([^)\s]*images/([\w-]+)\.png\)")
MOST_BYTES = 150_000
COLOURS = 128
FULL_PLOTS_SECONDS = 62
SETTLED_MS = 1_500
DESKTOP, WALL, PHONE = (1280, 800), (1920, 1080), (390, 844)
WHOLE, MARGIN = "#content, main", 24
BOARD, DEMO = "/admin/board/", "/demo/"


def show_a_minute(page):
    page.locator("#window label").first.click()


def choose_a_unit(page):
    page.get_by_role("button", name="One more").click()
    page.locator("[name=reason]").fill("The handle came broken.")
    expect(page.locator("#refund-live")).to_contain_text("By card")


def join(page):
    page.goto("/demo/#/sign-in")
    page.locator("#use-demo").click()
    expect(page.locator(".sale")).to_have_count(2)
    for sale in page.locator(".sale").all():
        sale.get_by_role("button").first.click()
        expect(sale.locator(".room[data-status=waiting]")).to_be_visible()


def buy(page):
    page.goto("/demo/#/sign-in")
    page.locator("#use-demo").click()
    page.locator(".campaign[data-status=open] button").first.click()
    expect(page.locator(".own").first).to_be_visible()
    page.locator("section:has(#products-title) .product .button").first.click()
    page.locator("#quantity").fill("2")
    page.locator("#coupon").select_option(index=1)
    page.locator("#points-used").fill("500")
    page.locator("#buy").click()
    expect(page.locator("[data-event='transmit.done']")).to_be_visible()


class Picture(NamedTuple):
    """A page, by its path with names of `PictureShop` in it, and the element below which its picture ends."""

    path: str
    ends_at: str = WHOLE
    size: tuple[int, int] = DESKTOP
    prepare: Callable[[Any], None] = lambda page: None
    of_browser: Mapping[str, str] = {}
    by: str = "olga"


PICTURES = {
    "account": Picture("/admin/accounts/{refunded.account_id}/"),
    "approval": Picture("/admin/shop/approval/{approval.pk}/change/"),
    "board": Picture(BOARD, WHOLE, WALL, show_a_minute),
    "board-dark": Picture(BOARD, WHOLE, WALL, show_a_minute, {"color_scheme": "dark"}),
    "board-korean": Picture(BOARD, WHOLE, WALL, show_a_minute, {"locale": "ko-KR"}),
    "board-phone": Picture(BOARD, "#campaigns .card", PHONE, show_a_minute),
    "campaign": Picture("/admin/campaigns/{campaign.pk}/"),
    "demo": Picture(DEMO, ".sale:nth-of-type(2)", prepare=join, by=""),
    "demo-phone": Picture(DEMO, ".sale", PHONE, join, by=""),
    "demo-receipt": Picture(DEMO, "#timeline", prepare=buy, by=""),
    "dispute": Picture("/admin/orders/order/{disputed.pk}/change/", ".fc-page > details"),
    "home": Picture("/admin/"),
    "not-found": Picture("/admin/nothing/"),
    "order": Picture("/admin/orders/order/{refunded.pk}/change/"),
    "orders-phone": Picture("/admin/orders/order/", "#result_list .data-row >> nth=9", PHONE),
    "product": Picture("/admin/products/{product.pk}/"),
    "refund": Picture("/admin/orders/order/{refunded.pk}/refund/", prepare=choose_a_unit),
    "refused": Picture("/admin/inventory/product/", by="clerk"),
    "sales": Picture("/admin/reports/sales/"),
    "welcome": Picture("/", "main", by=""),
}


def test_each_page_of_the_docs_pictures_is_there_and_is_taken_when_asked_for(open_page, stack, faults):
    faults.expect(r"^(404|403): GET .*/admin/(nothing|inventory)/")
    is_written = os.environ.get("PICTURES") == "write"
    shop = picture_shop.fill(stack)
    with ExitStack() as running:
        if is_written:
            running.enter_context(picture_shop.buyers_at_it(stack))
            board = open_page(BOARD, account=shop.olga)
            board.wait_for_timeout(FULL_PLOTS_SECONDS * 1_000)
        for name, picture in PICTURES.items():
            take(open_page, shop, picture, FOLDER / f"{name}.png" if is_written else None)


def take(open_page: Callable[..., Any], shop: PictureShop, picture: Picture, file: Path | None):
    """Open the picture's page, and write what it shows into the file, if one is given."""
    account = getattr(shop, picture.by) if picture.by else None
    page = open_page("", account=account, width=picture.size[0], **picture.of_browser)
    page.goto(picture.path.format(**shop._asdict()))
    picture.prepare(page)
    last = page.locator(picture.ends_at).first
    expect(last).to_be_visible()
    if file is not None:
        width, height = picture.size
        heights = page.locator("html, #main").evaluate_all("all => all.map(one => one.scrollHeight)")
        whole = max(height, *heights)
        page.set_viewport_size({"width": width, "height": whole})
        page.wait_for_timeout(SETTLED_MS)
        box = last.bounding_box()
        end = whole if picture.ends_at == WHOLE else min(whole, round(box["y"] + box["height"]) + MARGIN)
        shown = page.screenshot(animations="disabled", clip={"x": 0, "y": 0, "width": width, "height": end})
        image = Image.open(BytesIO(shown)).convert("RGB")
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    page.close()


@pytest.mark.rules
def test_the_docs_show_exactly_the_pictures_that_are_taken_and_each_is_small():
    pages = [*DOCS.rglob("*.md"), places.PROJECT / "README.md"]
    shown = {name for page in pages for name in SHOWN.findall(page.read_text())}
    files = {path.stem: path.stat().st_size for path in FOLDER.iterdir()}
    assert shown == set(files) == set(PICTURES)
    assert [name for name, size in files.items() if size > MOST_BYTES] == []
