"""The pictures: which page each shows, how wide, in which colours, and what is done on it first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.screenshots.demo_data import ShownRows

DESKTOP, PHONE = (1280, 800), (390, 844)
TALLEST = 1_600
CODES = "".join(f"GOLD-{number:05}\n" for number in range(1, 241))
"""What is uploaded to a pool."""


@dataclass(frozen=True)
class Shot:
    """One picture. Where it has `most_height`, it is as tall as its page, up to that."""

    name: str
    path: Callable[[ShownRows], str]
    size: tuple[int, int] = DESKTOP
    scheme: str = "light"
    locale: str = "en-GB"
    most_height: int = 0
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


SHOTS = (
    Shot("board", lambda rows: "/admin/board/", size=(1280, 900), prepare=_show_a_minute),
    Shot("board-dark", lambda rows: "/admin/board/", size=(1280, 900), scheme="dark", prepare=_show_a_minute),
    Shot("board-phone", lambda rows: "/admin/board/", size=PHONE, prepare=_show_a_minute),
    Shot("welcome", lambda rows: "/", most_height=TALLEST),
    Shot("home", lambda rows: "/admin/", most_height=1_160),
    Shot("order", lambda rows: f"/admin/orders/order/{rows.order}/change/", most_height=TALLEST),
    Shot("refund", lambda rows: f"/admin/orders/order/{rows.order}/refund/", prepare=_fill_refund),
    Shot("account", lambda rows: f"/admin/accounts/{rows.account}/", most_height=980),
    Shot("product", lambda rows: f"/admin/products/{rows.product}/", most_height=TALLEST),
    Shot("campaign", lambda rows: f"/admin/campaigns/{rows.campaign}/"),
    Shot(
        "upload",
        lambda rows: f"/admin/coupons/campaign/{rows.pool_campaign}/upload_codes/",
        most_height=TALLEST,
        prepare=_choose_codes,
    ),
    Shot("sales", lambda rows: "/admin/reports/sales/", most_height=1_300),
    Shot(
        "board-korean",
        lambda rows: "/admin/board/",
        size=(1280, 900),
        locale="ko-KR",
        prepare=_show_a_minute,
    ),
)
