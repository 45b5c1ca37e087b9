"""The pictures: which page each shows, how wide, in which colours, and what is done on it first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.screenshots.demo_data import ShownRows

DESKTOP, WIDE, WALL, PHONE = (1280, 800), (1600, 800), (1920, 1080), (390, 844)
SMALL_PHONE = (375, 812)
BOARD, STOREFRONT = "/admin/board/", "/demo/"
CODES = "".join(f"GOLD-{number:05}\n" for number in range(1, 241))
"""What is uploaded to a pool."""


@dataclass(frozen=True)
class Shot:
    """One picture, as tall as its page; with `ends_at` it ends below that element."""

    name: str
    path: Callable[[ShownRows], str]
    size: tuple[int, int] = DESKTOP
    scheme: str = "light"
    locale: str = "en-GB"
    ends_at: str = ""
    margin: int = 26
    """Of the page below that element, in pixels: by default the padding of its card."""
    prepare: Callable[[Any, Path], None] | None = None


def _show_a_minute(page: Any, folder: Path) -> None:
    page.locator("#window label").first.click()


def _fill_refund(page: Any, folder: Path) -> None:
    page.locator("input[name=what][value=some]").check()
    page.locator("[name^=units_]").first.fill("1")
    page.locator("[name=reason]").fill("The second lamp came with the wrong plug.")
    page.locator("[name=preview]").click()
    page.locator(".fc-big").wait_for()


def _choose_codes(page: Any, folder: Path) -> None:
    file = folder / "golden-tickets.csv"
    file.write_text(CODES)
    page.locator("#code-file").set_input_files(file)
    page.locator("#add").wait_for()


def _sign_in_and_wait(page: Any, folder: Path) -> None:
    _sign_in(page)
    for sale in page.locator(".sale").all():
        sale.get_by_role("button").click()
        sale.locator(".room[data-status=waiting]").wait_for()


def _buy(page: Any, folder: Path) -> None:
    _sign_in(page)
    page.locator(".campaign[data-status=open] button").first.click()
    page.locator(".own").wait_for()
    page.locator("section:has(#products-title) .product .button").first.click()
    page.locator("#quantity").fill("2")
    page.locator("#coupon").select_option(index=1)
    page.locator("#points-used").fill("500")
    page.locator("#buy").click()
    page.locator("[data-event='transmit.done']").wait_for()


def _sign_in(page: Any) -> None:
    page.goto("/demo/#/sign-in")
    page.locator("#use-demo").click()
    page.locator(".sale").first.wait_for()


SHOTS = (
    Shot("board", lambda rows: BOARD, size=WALL, prepare=_show_a_minute),
    Shot("board-dark", lambda rows: BOARD, size=WALL, scheme="dark", prepare=_show_a_minute),
    Shot(
        "board-korean",
        lambda rows: BOARD,
        size=WALL,
        locale="ko-KR",
        prepare=_show_a_minute,
    ),
    Shot(
        "board-phone",
        lambda rows: BOARD,
        size=PHONE,
        ends_at="#campaigns .card",
        margin=8,
        prepare=_show_a_minute,
    ),
    Shot("welcome", lambda rows: "/"),
    Shot("demo", lambda rows: STOREFRONT, ends_at=".sale:nth-of-type(2)", prepare=_sign_in_and_wait),
    Shot(
        "demo-phone",
        lambda rows: STOREFRONT,
        size=SMALL_PHONE,
        ends_at=".sale",
        prepare=_sign_in_and_wait,
    ),
    Shot("demo-receipt", lambda rows: STOREFRONT, ends_at="#timeline", margin=8, prepare=_buy),
    Shot("home", lambda rows: "/admin/"),
    # Wide enough for the whole id in the path above the page.
    Shot(
        "order",
        lambda rows: f"/admin/orders/order/{rows.order}/change/",
        size=WIDE,
        ends_at="ol.fc-entries",
    ),
    Shot(
        "refund",
        lambda rows: f"/admin/orders/order/{rows.order}/refund/",
        size=WIDE,
        prepare=_fill_refund,
    ),
    Shot("account", lambda rows: f"/admin/accounts/{rows.account}/"),
    Shot("product", lambda rows: f"/admin/products/{rows.product}/"),
    Shot("campaign", lambda rows: f"/admin/campaigns/{rows.campaign}/"),
    Shot(
        "upload",
        lambda rows: f"/admin/coupons/campaign/{rows.pool_campaign}/upload_codes/",
        prepare=_choose_codes,
    ),
    Shot("sales", lambda rows: "/admin/reports/sales/"),
)
