"""What tests of the demo storefront share: buyers with a password, steps of a purchase, lost answers."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import transaction

from foundation.tests.factories import PASSWORD, AccountFactory
from inventory.models import Product
from payments import ledger
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import hashed_password

HOME, SIGN_IN = "/demo/", "/demo/#/sign-in"
ORDERS = "**/api/v1/orders"
Handler = Callable[[Any], None]


def buyer(username: str) -> User:
    """An account that can sign in by `PASSWORD`."""
    account: User = AccountFactory(username=username, password=hashed_password())
    with transaction.atomic():
        ledger.bulk_open_wallets([account.pk], 10_000)
    return account


def sign_in(page, account: User):
    """By the form of the page that is shown, or of the storefront's own."""
    if not page.locator("#username").count():
        page.goto(SIGN_IN)
    page.locator("#username").fill(account.username)
    page.locator("#password").fill(PASSWORD)
    page.locator("form .primary").click()
    expect(page.locator("#account")).to_have_text(account.username)


def open_product(page, product: Product, account: User | None = None):
    """The button that buys it, on the page of the product; an account signs in first."""
    if account:
        sign_in(page, account)
    page.goto(f"/demo/#/buy/{product.pk}")
    button = page.locator("#buy")
    expect(button).to_be_enabled()
    return button


def card_of(page, product: Product):
    return page.locator(f"[data-product='{product.pk}']")


def receipt(page, status="paid"):
    return page.locator(f".receipt[data-status={status}]")


def keep_first_answer_back(page, *, and_break=False) -> list[str]:
    """The page's first order reaches the shop, and no answer comes, or an error. Returns all orders' keys."""
    keys: list[str] = []

    def handle(route):
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
            return
        route.fetch()
        if and_break:
            route.abort("connectionreset")

    page.route(ORDERS, _only_posts(handle))
    return keys


def change_keys(page):
    """The defect that the tests must notice: each try has a key of its own."""

    def handle(route):
        route.fallback(headers=route.request.headers | {"idempotency-key": str(uuid4())})

    page.route(ORDERS, _only_posts(handle))


def _only_posts(handle):
    return lambda route: handle(route) if route.request.method == "POST" else route.fallback()
