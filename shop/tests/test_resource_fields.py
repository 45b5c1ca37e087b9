"""What resources of the API have in common: their account, their currency, and when they were changed."""

import re
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from accounts.tests.clients import client_of, new_superuser, signed_in
from coupons import issuing
from coupons.codes import pool
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.tests import openapi_document
from foundation.tests.factories import AccountFactory
from foundation.tests.sent_forms import fields_of
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from sales.models import Sale
from sales.tests.factories import create_sale, join

OF_AN_ACCOUNT = {"Order", "Coupon", "Payment", "Refund", "Ticket", "SaleEntry", "Entry"}
DATED = {"Product", "Campaign", "Sale"}
LATER = timedelta(minutes=5)
WHY = {"reason": "A mistake."}


def test_each_resource_has_its_account_or_its_times_and_each_amount_a_currency():
    schemas = openapi_document.read()["components"]["schemas"]
    bodies = {name: set(schema["properties"]) for name, schema in schemas.items() if name.endswith("Body")}
    parts = {name: set(re.findall(r"schemas/(\w+)", str(schemas[name]["properties"]))) for name in bodies}

    assert {name for name in OF_AN_ACCOUNT if "account" not in bodies[f"{name}Body"]} == set()
    assert {name for name in DATED if not {"created_at", "updated_at"} <= bodies[f"{name}Body"]} == set()
    priced = {
        name for name, fields in bodies.items() if any(re.search("(price|amount)$", one) for one in fields)
    }
    assert len(priced) == 9
    for name in priced:
        shown_in = [name, *(other for other in bodies if name in parts[other])]
        assert [other for other in shown_in if "currency" in bodies[other]] in ([name], shown_in[1:]), name


def test_each_resource_of_an_account_shows_it_to_its_owner_and_to_staff(transactional_db):
    owner, product = buying.account(points=1_000), ProductFactory(on_hand=9, price=500)
    queued = CampaignFactory(strategy="queue")
    own, staff = client_of(owner), new_superuser()
    paid = buying.buy(owner, {product: 2})
    refund = staff.post(f"/orders/{paid.id}/refunds", WHY, key="refund").json()
    coupon = buying.coupon_of(owner)
    ticket = issuing.issue(campaign_id=queued.pk, user_id=owner.pk).ticket
    entry = join(create_sale(), owner.pk)

    for path in (
        f"/orders/{paid.id}",
        f"/payments/{paid.payments.get().id}",
        f"/coupons/{coupon.code}",
        f"/queue-tickets/{ticket.pk}",
        f"/sale-entries/{entry.id}",
    ):
        assert own.read(path)["account"] == staff.read(path)["account"] == owner.pk, path
    assert refund["account"] == owner.pk
    assert own.rows(f"/orders/{paid.id}/refunds") == [refund]
    assert {row["account"] for row in own.rows("/wallet/entries")} == {owner.pk}


def changed_by_api(api, path: str):
    assert api.patch(path, {"name": "New"}).status_code == 200


def paused(api, path: str):
    assert api.post(f"{path}/pause", WHY).status_code == 200


def changed_on_the_page(api, path: str):
    app = {"products": "inventory/product", "campaigns": "coupons/campaign", "sales": "sales/sale"}
    _, kind, number = path.split("/")
    page, browser = f"/admin/{app[kind]}/{number}/change/", signed_in(User.objects.get(is_superuser=True))
    form = fields_of(browser.get(page).text, name="New", **WHY)
    answer = browser.post(page, form)
    assert answer.status_code == 302, answer.text


def imported(api, path: str):
    sku = Product.objects.get(pk=path.split("/")[2]).sku
    call_command("seed_stock", sku=sku, name="New", quantity=1)


def not_changed_by_the_same(api, path: str):
    name = api.read(path)["name"]
    assert api.patch(path, {"name": name}).status_code == 200


def sold_and_moved(api, path: str):
    product = Product.objects.get(pk=path.split("/")[2])
    buying.place(AccountFactory(), product)
    moved = api.post(f"{path}/stock-adjustments", {"delta": 1} | WHY, key="move")
    assert moved.status_code == 201


def issued_and_given_codes(api, path: str):
    number = int(path.split("/")[2])
    issuing.issue(campaign_id=number, user_id=AccountFactory().pk)
    pool.generate(campaign_id=number, count=1)


def joined(api, path: str):
    join(Sale.objects.get(pk=path.split("/")[2]))


CHANGES = [changed_by_api, paused, changed_on_the_page]
NO_CHANGES = [not_changed_by_the_same]
CASES = {
    "products": ([*CHANGES, imported], [*NO_CHANGES, sold_and_moved]),
    "campaigns": (CHANGES, [*NO_CHANGES, issued_and_given_codes]),
    "sales": (CHANGES, [*NO_CHANGES, joined]),
}


def make(kind: str) -> str:
    if kind == "sales":
        return f"/sales/{create_sale().pk}"
    if kind == "products":
        return f"/products/{ProductFactory(on_hand=5).pk}"
    campaign = CampaignFactory(code_source="pool")
    pool.generate(campaign_id=campaign.pk, count=1)
    return f"/campaigns/{campaign.pk}"


@pytest.mark.parametrize("kind", CASES)
def test_updated_at_is_when_staff_changed_it_last_and_nothing_else_moves_it(transactional_db, kind):
    api = new_superuser()

    def age_after(change):
        path = make(kind)
        before = api.read(path)
        assert before["created_at"] == before["updated_at"]
        with clock.shifted(by=LATER):
            change(api, path)
        after = api.read(path)
        assert after["created_at"] == before["created_at"]
        return datetime.fromisoformat(after["updated_at"]) - datetime.fromisoformat(after["created_at"])

    changes, no_changes = CASES[kind]
    for change in changes:
        assert age_after(change) >= LATER, change.__name__
    for change in no_changes:
        assert age_after(change) == timedelta(0), change.__name__
