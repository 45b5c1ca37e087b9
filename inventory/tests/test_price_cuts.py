"""A price cut beyond `PRICE_CUT_PERCENT` within a day takes two operators, by any call, page or file."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from uuid_utils.compat import uuid7

from accounts.tests.clients import client_of, signed_in
from foundation import clock, journal
from foundation.approval_models import Approval
from foundation.errors import NotAllowed
from foundation.models import JournalLine
from foundation.tests.factories import SuperuserFactory, reloaded, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.sent_forms import fields_of
from inventory import products
from inventory.imports import importing, stock_files
from inventory.models import Delivery, Product
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db
IMPORT = "/admin/inventory/product/import/"
WAITS = (
    "a price cut of more than 35 % within a day takes two operators, and is asked for in the admin. "
    "Nothing is changed yet: another member of staff has to approve it."
)


@pytest.fixture(autouse=True)
def bound(settings):
    settings.PRICE_CUT_PERCENT = 35


@pytest.fixture
def clerk():
    rights = ["inventory.change_product", "inventory.view_product", "inventory.add_product"]
    rights.append("inventory.add_stockmovement")
    return staff_member(*rights, username="clerk")


@pytest.fixture
def product():
    return ProductFactory(sku="lamp", price=20_000)


def set_price(by: User, product, price: int, **terms) -> int:
    answer = client_of(by).patch(f"/products/{product.pk}", {"price": price, **terms})
    assert answer.json().get("code", "") == ("approval_required" if answer.status_code == 403 else "")
    return int(answer.status_code)


def price_of(product) -> int:
    return reloaded(product).price


def test_a_deeper_cut_is_refused_whole_and_a_smaller_one_is_made(clerk, product):
    assert set_price(clerk, product, 12_999, name="Cheap") == 403
    assert (price_of(product), JournalLine.objects.count(), Approval.objects.count()) == (20_000, 0, 0)
    assert Product.objects.get().name == product.name
    assert set_price(clerk, product, 13_000) == 200
    assert set_price(clerk, product, 90_000) == 200


def test_small_cuts_within_a_day_add_up_whoever_makes_them(clerk, product):
    assert set_price(clerk, product, 17_000) == 200
    assert set_price(SuperuserFactory(), product, 14_000) == 200
    assert set_price(clerk, product, 12_000) == 403
    with clock.shifted(by=timedelta(hours=25)):
        assert set_price(clerk, product, 12_000) == 200
    assert price_of(product) == 12_000


@pytest.mark.parametrize("percent, status", [(None, 200), (0, 403), (100, 200)])
def test_the_bound_may_be_none_or_any_cut(clerk, product, settings, percent, status):
    settings.PRICE_CUT_PERCENT = percent
    assert set_price(clerk, product, 0) == status


def test_a_command_has_no_bound(product):
    products.change(product_id=product.pk, price=1)
    assert price_of(product) == 1


def test_the_page_asks_and_the_price_is_set_once_another_operator_approves(clerk, product):
    client, page = signed_in(clerk), f"/admin/inventory/product/{product.pk}/change/"
    form = fields_of(client.get(page).text, price="11", name="Lamp, old", reason="Clearance.")
    sent = client.post(page, form, follow=True)
    [message] = sent.context["messages"]
    assert str(message) == f"lamp: {WAITS}"
    [asked] = Approval.objects.all()
    assert (asked.kind, asked.subject, asked.reason) == (
        "product.change",
        f"product {product.pk}",
        "Clearance.",
    )
    assert (price_of(product), asked.arguments["price"]) == (20_000, 11)
    approve = f"/admin/shop/approval/{asked.pk}/approve/"
    own = signed_in(SuperuserFactory())
    shown = own.get("/admin/shop/approval/").text
    assert "price 11" in shown and "Change a product" in shown

    own.post(approve, {"form_id": str(uuid7()), "reason": "I agree."})

    product.refresh_from_db()
    assert (product.price, product.name) == (11, "Lamp, old")
    line = journal_line("product.changed")
    assert (line.actor_id, line.detail) == (clerk.pk, "Clearance.")


def test_a_file_with_a_deeper_cut_asks_for_it_and_is_imported_once_that_is_approved(clerk, product):
    ProductFactory(sku="chair", price=10_000)
    text = "sku,name,price,quantity\nchair,Chair,9000,4\nlamp,Lamp,100,1\nsofa,Sofa,1,1\n"
    client, boss = signed_in(clerk), signed_in(SuperuserFactory())

    def upload():
        file = SimpleUploadedFile("delivery.csv", text.encode())
        form = {"file": file, "form_id": str(uuid7()), "reason": "The van."}
        return client.post(IMPORT, form, follow=True)

    for _ in range(2):
        assert [str(message) for message in upload().context["messages"]] == [f"lamp: {WAITS}"]
    assert (Product.objects.count(), Delivery.objects.count()) == (2, 0)
    [asked] = Approval.objects.all()
    assert (asked.reason, asked.arguments["price"]) == ("The van.", 100)
    boss.post(f"/admin/shop/approval/{asked.pk}/approve/", {"form_id": str(uuid7()), "reason": "Yes."})

    hidden = dict(upload().context["hidden"])
    client.post(IMPORT, hidden | {"confirmed": "yes"})

    assert dict(Product.objects.values_list("sku", "price")) == {"chair": 9_000, "lamp": 100, "sofa": 1}


def test_a_price_that_is_raised_between_preview_and_import_is_refused_then(clerk, product):
    """The preview's check is repeated before the delivery begins."""
    rows, _ = stock_files.read_file(b"sku,name,price,quantity\nlamp,Lamp,15000,1\n", most_lines=9)
    with acting(clerk):
        assert importing.preview(rows).changed == 1
        products.change(product_id=product.pk, price=60_000)
        with pytest.raises(NotAllowed) as refused:
            importing.receive(rows, delivery_id=uuid7(), reason="The van.")
    assert (refused.value.code, Delivery.objects.count()) == ("approval_required", 0)
    assert price_of(product) == 60_000


def test_a_price_that_is_raised_between_two_parts_of_a_file_is_refused_with_its_part(
    clerk, product, monkeypatch
):
    monkeypatch.setattr(importing, "ROWS_AT_ONCE", 1)
    ProductFactory(sku="chair", price=10_000)
    text = b"sku,name,price,quantity\nchair,Chair,9000,4\nlamp,Lamp,15000,1\n"
    rows, _ = stock_files.read_file(text, most_lines=9)

    def raise_price(done):
        products.change(product_id=product.pk, price=60_000)

    with acting(clerk), pytest.raises(NotAllowed):
        importing.receive(rows, delivery_id=uuid7(), reason="The van.", on_progress=raise_price)
    assert (price_of(product), Delivery.objects.get().rows_done) == (60_000, 1)


def acting(account: User):
    return journal.acting(
        journal.ActorContext(journal.Actor.STAFF, account.pk, account.username, "a request")
    )
