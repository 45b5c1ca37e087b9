"""Each way to create a product or change its price writes a journal line: before, after, and the actor."""

import getpass

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from shop.models import JournalLine
from shop.tests.clients import client_of, signed_in
from shop.tests.confirming import to_confirm
from shop.tests.factories import SuperuserFactory
from shop.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db
HEADER = "sku,name,price,quantity\n"


def lines(what: str) -> list[JournalLine]:
    return list(JournalLine.objects.filter(what=what).order_by("id"))


def changed() -> JournalLine:
    [line] = lines("product.changed")
    return line


def test_a_price_changed_by_a_call_is_noted_with_what_it_was_and_the_caller() -> None:
    product, staff = ProductFactory.create(price=4_500), SuperuserFactory.create()

    client_of(staff).patch(f"/products/{product.pk}", {"price": 45, "name": product.name})

    line = changed()
    assert (line.subject, line.before, line.after) == (
        f"product {product.pk}",
        {"price": 4_500},
        {"price": 45},
    )
    assert (line.actor, line.actor_id) == ("staff", staff.pk)


def test_a_price_changed_on_the_operators_page_is_noted_with_the_operator() -> None:
    product, staff = ProductFactory.create(sku="TEA", name="Tea", price=4_500), SuperuserFactory.create()
    client, page = signed_in(staff), f"/admin/inventory/product/{product.pk}/change/"

    client.post(page, fields_of(client.get(page).content.decode(), price="45", reason="A sale."))

    line = changed()
    assert (line.before, line.after) == ({"price": 4_500}, {"price": 45})
    assert (line.actor, line.actor_id, line.actor_name) == ("staff", staff.pk, staff.username)


def test_a_price_changed_by_an_upload_is_noted_once_it_is_confirmed() -> None:
    product, staff = ProductFactory.create(sku="TEA", name="Tea", price=4_500), SuperuserFactory.create()
    client = signed_in(staff)
    text = f"{HEADER}TEA,Tea,45,1\nCUP,Cup,900,0\n"
    file = SimpleUploadedFile("prices.csv", text.encode(), content_type="text/csv")
    sent = to_confirm(client, "/admin/inventory/product/import/", file=file, reason="The new list.")
    assert not lines("product.changed") and not lines("product.created")

    client.post("/admin/inventory/product/import/", sent)

    line = changed()
    assert (line.subject, line.before, line.after) == (
        f"product {product.pk}",
        {"price": 4_500},
        {"price": 45},
    )
    assert line.actor_id == staff.pk
    [cup] = [line for line in lines("product.created") if line.actor_id == staff.pk]
    assert cup.subject == f"product {Product.objects.get(sku='CUP').pk}"
    assert cup.after == {
        "sku": "CUP",
        "name": "Cup",
        "price": 900,
        "is_active": True,
        "low_stock_threshold": None,
        "limit_per_account": None,
    }


def test_a_price_changed_by_the_command_is_noted_with_the_shells_user() -> None:
    ProductFactory.create(sku="TEA", price=4_500)

    call_command("seed_stock", "--sku", "TEA", "--quantity", "0", "--price", "45")

    line = changed()
    assert (line.before, line.after) == ({"price": 4_500}, {"price": 45})
    assert (line.actor, line.actor_name) == ("staff", getpass.getuser())


def test_changes_of_nothing_and_refused_changes_leave_no_line() -> None:
    product, other = ProductFactory.create(price=4_500), ProductFactory.create()
    staff = client_of(SuperuserFactory.create())

    assert staff.patch(f"/products/{product.pk}", {"price": 4_500}).status_code == 200
    assert staff.patch(f"/products/{product.pk}", {"price": 1, "sku": other.sku}).status_code == 409

    assert not lines("product.changed")
