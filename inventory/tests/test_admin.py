import re
from uuid import uuid4

import pytest
from django.test import Client

from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, StockMovementFactory
from shop.tests.factories import AccountFactory, SuperuserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(SuperuserFactory.create())
    return client


def page_of(product: Product) -> str:
    return f"/admin/inventory/product/{product.pk}"


def move(client: Client, product: Product, **fields: object):
    form = {
        "_form_submitted": "on",
        "kind": "adjusted",
        "delta": 1,
        "reason": "count",
        "movement_id": uuid4(),
    }
    form |= fields
    return client.post(f"{page_of(product)}/move_stock/", form)


def test_every_page_opens(operator):
    product = ProductFactory.create(on_hand=3)
    movement = StockMovement.objects.get()
    for page in (
        "/admin/inventory/product/",
        "/admin/inventory/product/add/",
        f"{page_of(product)}/change/",
        f"{page_of(product)}/move_stock/",
        "/admin/inventory/stockmovement/",
        f"/admin/inventory/stockmovement/{movement.pk}/change/",
    ):
        assert operator.get(page).status_code == 200


def test_a_product_is_added_with_nothing_in_stock(operator):
    form = {"sku": "TEA-1", "name": "Tea", "price": 900, "is_active": "on", "on_hand": 50}
    assert operator.post("/admin/inventory/product/add/", form).status_code == 302
    product = Product.objects.get()
    assert (product.sku, product.price, product.on_hand, product.is_active) == ("TEA-1", 900, 0, True)


def test_a_wrong_or_taken_sku_is_shown_as_an_error_on_the_page(operator):
    ProductFactory.create(sku="TEA-1")
    for sku in ("TEA-1", "a b", ""):
        form = {"sku": sku, "name": "Tea", "price": 900}
        assert operator.post("/admin/inventory/product/add/", form).status_code == 200
    assert Product.objects.count() == 1


def test_saving_a_product_does_not_change_stock_that_moved_since_its_page_was_opened(operator, monkeypatch):
    """Django's own save writes every column, and with them the stock that the page has read."""
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=900, on_hand=5)
    clean = Product.full_clean

    def sold_meanwhile(self, *args, **kwargs):
        Product.objects.filter(pk=product.pk).update(reserved=2)
        clean(self, *args, **kwargs)

    monkeypatch.setattr(Product, "full_clean", sold_meanwhile)
    form = {"sku": "TEA-1", "name": "Best tea", "price": 900, "is_active": "on"}
    assert operator.post(f"{page_of(product)}/change/", form).status_code == 302
    product.refresh_from_db()
    assert (product.name, product.on_hand, product.reserved) == ("Best tea", 5, 2)


def test_stock_is_moved_by_a_movement_of_the_kind_that_was_chosen(operator):
    product = ProductFactory.create(on_hand=5)
    received = move(operator, product, kind="received", delta=10, reason="delivery 7")
    adjusted = move(operator, product, delta=-2, reason="broken")
    assert received["HX-Redirect"] == adjusted["HX-Redirect"] == f"{page_of(product)}/change/"
    moved = StockMovement.objects.order_by("id").values_list("kind", "delta", "on_hand_after")
    assert list(moved)[1:] == [("received", 10, 15), ("adjusted", -2, 13)]


def test_an_impossible_move_shows_an_error_and_changes_nothing(operator):
    product = ProductFactory.create(on_hand=5)
    for fields in ({"delta": -6}, {"delta": 0}, {"kind": "received", "delta": -1}):
        answer = move(operator, product, **fields)
        page = operator.get(answer["HX-Redirect"]).content.decode()
        assert "(5 available)" in page or "changes nothing" in page or "at least 1" in page
    assert move(operator, product, reason="").status_code == 200
    product.refresh_from_db()
    assert (product.on_hand, StockMovement.objects.count()) == (5, 1)


def test_moving_stock_needs_the_permission(operator):
    product = ProductFactory.create(on_hand=5)
    staff = AccountFactory.create(
        is_staff=True, permissions=["inventory.view_product", "inventory.change_product"]
    )
    client = Client()
    client.force_login(staff)
    assert client.get(f"{page_of(product)}/change/").status_code == 200
    assert move(client, product).status_code == 403
    assert StockMovement.objects.count() == 1


def test_the_list_shows_and_filters_all_four_states(operator):
    for sku, on_hand, reserved, is_active in (
        ("FREE", 5, 4, True),
        ("HELD", 5, 5, True),
        ("GONE", 0, 0, True),
        ("IDLE", 5, 5, False),
    ):
        made = ProductFactory.create(sku=sku, on_hand=on_hand, is_active=is_active)
        Product.objects.filter(id=made.id).update(reserved=reserved)
    states = {"available": "FREE", "reserved": "HELD", "sold_out": "GONE", "inactive": "IDLE"}
    everything = operator.get("/admin/inventory/product/").content.decode()
    for state, sku in states.items():
        page = operator.get(f"/admin/inventory/product/?state={state}")
        assert [product.sku for product in page.context["cl"].result_list] == [sku]
        assert f"?state={state}" in everything
        assert state.replace("_", " ") in page.content.decode()


def test_a_threshold_is_set_and_removed_on_the_page(operator):
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=900)
    form = {"sku": "TEA-1", "name": "Tea", "price": 900, "is_active": "on"}
    for given, kept in (("5", 5), ("0", 0), ("-1", 0), ("", None)):
        operator.post(f"{page_of(product)}/change/", form | {"low_stock_threshold": given})
        product.refresh_from_db()
        assert product.low_stock_threshold == kept


def test_a_limit_per_account_is_set_and_removed_on_the_page(operator):
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=900)
    form = {"sku": "TEA-1", "name": "Tea", "price": 900, "is_active": "on"}
    for given, kept in (("5", 5), ("0", 5), ("", None)):
        operator.post(f"{page_of(product)}/change/", form | {"limit_per_account": given})
        product.refresh_from_db()
        assert product.limit_per_account == kept


def test_nothing_is_deleted_and_movements_are_only_read(operator):
    product = ProductFactory.create(on_hand=5)
    movement = StockMovementFactory.create()
    for page in (f"{page_of(product)}/delete/", f"/admin/inventory/stockmovement/{movement.pk}/delete/"):
        assert operator.post(page, {"post": "yes"}).status_code == 403
    assert operator.post("/admin/inventory/stockmovement/add/", {}).status_code == 403
    change = operator.post(f"/admin/inventory/stockmovement/{movement.pk}/change/", {"delta": 9})
    assert change.status_code == 403


def test_a_form_that_is_sent_twice_moves_stock_once(operator):
    """The answer to the first request was lost on its way to the browser."""
    product, movement_id = ProductFactory.create(on_hand=5), uuid4()
    for _ in range(2):
        assert move(operator, product, kind="received", delta=100, movement_id=movement_id).status_code == 200
    product.refresh_from_db()
    assert product.on_hand == 105
    page = operator.get(f"{page_of(product)}/change/").content.decode()
    assert "This form was sent before; nothing was moved again." in page
    move(operator, product, kind="received", delta=100)
    product.refresh_from_db()
    assert product.on_hand == 205


def test_each_form_has_an_id_of_its_own(operator):
    page = f"{page_of(ProductFactory.create())}/move_stock/"
    ids = {
        re.search(r'name="movement_id" value="([0-9a-f-]{36})"', operator.get(page).content.decode())[1]
        for _ in range(2)
    }
    assert len(ids) == 2
