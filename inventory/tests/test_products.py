import getpass
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import DatabaseError, transaction

from accounts.tests.clients import client_of, new_superuser, signed_in
from foundation.errors import Rejected
from foundation.operations.audits.checks import merge_reports
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import to_confirm
from foundation.tests.factories import SuperuserFactory, set_columns
from foundation.tests.journal_lines import journal_lines
from foundation.tests.racing import race
from foundation.tests.sent_forms import fields_of
from inventory import adjustments, audit, products
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import Product
from inventory.products import Availability
from inventory.tests.factories import ProductFactory, pause

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def skus(**query) -> list[str]:
    found = products.find(**{"include_inactive": False} | query)  # type: ignore[arg-type]
    return list(found.order_by("id").values_list("sku", flat=True))


def test_a_price_below_zero_and_a_limit_of_nothing_are_refused_by_the_database():
    for law, wrong in (("price", {"price": -1}), ("limit_per_account_positive", {"limit_per_account": 0})):
        with pytest.raises(DatabaseError, match=law), transaction.atomic():
            ProductFactory(**wrong)
    assert not Product.objects.exists()


def test_a_change_of_the_limit_counts_as_a_change_of_the_stocks_version():
    product = ProductFactory()
    assert products.change(product_id=product.id, limit_per_account=2).version == product.version + 1


def test_every_word_is_searched_in_sku_and_name_in_any_case():
    ProductFactory(sku="TEA-GREEN", name="Sencha")
    ProductFactory(sku="TEA-BLACK", name="Earl Grey 100%")
    ProductFactory(sku="CUP", name="녹차 Cup for tea")
    assert skus(search="tea") == ["TEA-GREEN", "TEA-BLACK", "CUP"]
    assert skus(search="sencha tea-g") == ["TEA-GREEN"]
    assert skus(search="GREY tea") == ["TEA-BLACK"]
    assert skus(search="녹차") == ["CUP"]
    assert skus(search="100%") == ["TEA-BLACK"]
    assert skus(search="t_a") == []
    assert skus(search="  ") == ["TEA-GREEN", "TEA-BLACK", "CUP"]


@in_one_test(
    ("on_hand", "reserved", "is_active", "paused_at", "availability", "state"),
    [
        (5, 0, True, None, "available", "available"),
        (5, 4, True, None, "available", "available"),
        (5, 5, True, None, "reserved", "reserved"),
        (0, 0, True, None, "sold_out", "sold_out"),
        (5, 4, True, NOON, "available", "paused"),
        (5, 5, True, NOON, "reserved", "paused"),
        (0, 0, True, NOON, "sold_out", "paused"),
        (5, 0, False, None, "available", "inactive"),
        (5, 5, False, NOON, "reserved", "inactive"),
        (0, 0, False, None, "sold_out", "inactive"),
    ],
)
def test_availability_and_the_five_states_are_the_same_in_python_and_in_the_database(
    on_hand, reserved, is_active, paused_at, availability, state
):
    product = ProductFactory(sku="ONE", on_hand=on_hand, is_active=is_active, paused_at=paused_at)
    set_columns(product, reserved=reserved)
    product.refresh_from_db()
    assert products.availability(product) == availability
    found = {one for one in Availability if skus(with_availability=one, include_inactive=True) == ["ONE"]}
    assert found == {availability}
    assert products.state(product) == state
    found = [one for one, condition in products.WITH_STATE.items() if Product.objects.filter(condition)]
    assert found == [state]


def test_one_of_20_concurrent_creations_of_the_same_sku_succeeds(transactional_db):
    def create():
        return products.create(sku="TEA-1", name="Tea", price=1)

    outcomes = race([create] * 20)
    assert sum(isinstance(one, Product) for one in outcomes) == 1
    assert [one.code for one in outcomes if isinstance(one, Rejected)] == ["sku_exists"] * 19
    assert Product.objects.count() == 1


def by_a_call(staff: User, product):
    client_of(staff).patch(f"/products/{product.pk}", {"price": 45, "name": product.name})


def by_the_operators_page(staff: User, product):
    client, page = signed_in(staff), f"/admin/inventory/product/{product.pk}/change/"
    client.post(page, fields_of(client.get(page).text, price="45", reason="A sale."))


def by_an_upload(staff: User, product):
    """Noted once it is confirmed; a new product as well."""
    client, page = signed_in(staff), "/admin/inventory/product/import/"
    file = SimpleUploadedFile("prices.csv", b"sku,name,price,quantity\nTEA,Tea,45,1\nCUP,Cup,900,0\n")
    sent = to_confirm(client, page, file=file, reason="The new list.")
    assert not journal_lines("product.changed") and not journal_lines("product.created")

    client.post(page, sent)

    [cup] = [line for line in journal_lines("product.created") if line.actor_id == staff.pk]
    assert cup.subject == f"product {Product.objects.get(sku='CUP').pk}"
    terms = {"sku": "CUP", "name": "Cup", "price": 900, "is_active": True}
    assert cup.after == terms | {"low_stock_threshold": None, "limit_per_account": None}


def by_the_command(staff: User, product):
    call_command("seed_stock", "--sku", "TEA", "--quantity", "0", "--price", "45")


@pytest.mark.parametrize("change", [by_a_call, by_the_operators_page, by_an_upload, by_the_command])
def test_a_changed_price_is_noted_with_what_it_was_and_who_changed_it(change):
    product, staff = ProductFactory(sku="TEA", name="Tea", price=4_500), SuperuserFactory()

    change(staff, product)

    [line] = journal_lines("product.changed")
    assert line.subject == f"product {product.pk}"
    assert (line.before, line.after) == ({"price": 4_500}, {"price": 45})
    others = {by_a_call: (staff.pk, ""), by_the_command: (None, getpass.getuser())}
    who = others.get(change, (staff.pk, staff.username))
    assert (line.actor, line.actor_id, line.actor_name) == ("staff", *who)


def test_changes_of_nothing_and_refused_changes_leave_no_line():
    product, other = ProductFactory(price=4_500), ProductFactory()
    staff = new_superuser()

    assert staff.patch(f"/products/{product.pk}", {"price": 4_500}).status_code == 200
    assert staff.patch(f"/products/{product.pk}", {"price": 1, "sku": other.sku}).status_code == 409

    assert not journal_lines("product.changed")


def test_stock_that_only_moved_by_movements_is_clean():
    """What the audit finds of stock that did not: shop/tests/test_scheduled_audit.py."""
    product, _ = ProductFactory(sku="TEA", on_hand=10), ProductFactory()
    adjustments.adjust(product_id=product.id, delta=-3, reason="broken")
    adjustments.receive(product_id=product.id, quantity=5, reason="delivery 7")
    for reason in ("delivery", "another"):
        rows = [StockRow(line=0, sku="TEA", name="Tea", price=1, quantity=100)]
        importing.receive(rows, delivery_id=uuid4(), reason=reason)
    found = {one.law: (one.holds, one.checked, one.offenders) for one in merge_reports(audit.audit())}
    assert found == {"L4": (True, 2, []), "L5": (True, 2, []), "L8": (True, 2, [])}


def test_a_paused_product_is_changed_and_restocked_and_stays_paused():
    product = ProductFactory(on_hand=3)
    pause(product)

    products.change(product_id=product.pk, price=5, is_active=False)
    adjustments.receive(product_id=product.pk, quantity=4, reason="delivery")

    product.refresh_from_db()
    assert (product.price, product.on_hand, product.paused_at is not None) == (5, 7, True)
