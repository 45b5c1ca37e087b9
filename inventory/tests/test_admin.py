from functools import partial

import pytest
from django.test import Client

from inventory import adjustments, products
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, StockMovementFactory
from shop.models import JournalLine
from shop.tests.confirming import confirmed, message_of, shown, to_confirm
from shop.tests.factories import SuperuserFactory
from shop.tests.racing import race
from shop.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db


def page_of(product: Product) -> str:
    return f"/admin/inventory/product/{product.pk}"


def move(client: Client, product: Product, **fields: object):
    values = {"kind": "adjusted", "delta": 1, "reason": "count"} | fields
    return confirmed(client, f"{page_of(product)}/move_stock/", **values)


def test_a_product_is_added_with_nothing_in_stock(operator):
    form = {"sku": "TEA-1", "name": "Tea", "price": 900, "is_active": "on", "on_hand": 50}
    assert operator.post("/admin/inventory/product/add/", form).status_code == 302
    product = Product.objects.get()
    assert (product.sku, product.price, product.on_hand, product.is_active) == ("TEA-1", 900, 0, True)


def test_a_products_page_that_was_opened_before_another_operator_changed_it_reverts_nothing(operator):
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=900, is_active=True)
    page = f"{page_of(product)}/change/"
    opened = operator.get(page).content.decode()
    products.change(product_id=product.pk, price=1_200, is_active=False)

    assert operator.post(page, fields_of(opened, name="Best tea", reason="A new name.")).status_code == 302
    product.refresh_from_db()
    assert (product.name, product.price, product.is_active) == ("Best tea", 1_200, False)

    both = operator.post(page, fields_of(opened, price="1000", reason="A sale."))
    assert "This was changed since the page was opened. Open the page again." in both.content.decode()
    product.refresh_from_db()
    assert product.price == 1_200


def test_saving_a_product_does_not_change_stock_that_moved_since_its_page_was_opened(operator, monkeypatch):
    """Django's own save writes every column, and with them the stock that the page has read."""
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=900, on_hand=5)
    clean = Product.full_clean

    def sold_meanwhile(self, *args, **kwargs):
        Product.objects.filter(pk=product.pk).update(reserved=2)
        clean(self, *args, **kwargs)

    monkeypatch.setattr(Product, "full_clean", sold_meanwhile)
    opened = operator.get(f"{page_of(product)}/change/").content.decode()
    form = fields_of(opened, name="Best tea", reason="A new name.")
    assert operator.post(f"{page_of(product)}/change/", form).status_code == 302
    product.refresh_from_db()
    assert (product.name, product.on_hand, product.reserved) == ("Best tea", 5, 2)


def test_stock_is_moved_by_a_movement_of_the_kind_that_was_chosen(operator):
    product = ProductFactory.create(on_hand=5)
    received = move(operator, product, kind="received", delta=10, reason="delivery 7")
    adjusted = move(operator, product, delta=-2, reason="broken")
    assert received["Location"] == adjusted["Location"] == f"/admin/products/{product.pk}/"
    moved = StockMovement.objects.order_by("id").values_list("kind", "delta", "on_hand_after", "reason")
    assert list(moved)[1:] == [("received", 10, 15, "delivery 7"), ("adjusted", -2, 13, "broken")]
    line = JournalLine.objects.filter(subject=f"product {product.pk}").latest("id")
    assert (line.actor, line.detail) == ("staff", "broken")


def test_an_impossible_move_shows_an_error_and_changes_nothing(operator):
    product = ProductFactory.create(on_hand=5)
    for fields in ({"delta": -6}, {"delta": 0}, {"kind": "received", "delta": -1}):
        page = move(operator, product, **fields).content.decode()
        assert "(5 available)" in page or "changes nothing" in page or "at least 1" in page
    assert move(operator, product, reason="").status_code == 200
    product.refresh_from_db()
    assert (product.on_hand, StockMovement.objects.count()) == (5, 1)


def test_a_threshold_and_a_limit_per_account_are_set_and_removed_on_the_page(operator):
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=900)
    for name, values in (
        ("low_stock_threshold", (("5", 5), ("0", 0), ("-1", 0), ("", None))),
        ("limit_per_account", (("5", 5), ("0", 5), ("", None))),
    ):
        for given, kept in values:
            opened = operator.get(f"{page_of(product)}/change/").content.decode()
            form = fields_of(opened, **{name: given}, reason="It sells fast.")
            operator.post(f"{page_of(product)}/change/", form)
            product.refresh_from_db()
            assert getattr(product, name) == kept


def test_movements_are_only_read(operator):
    movement = StockMovementFactory.create()
    assert operator.post("/admin/inventory/stockmovement/add/", {}).status_code == 403
    change = operator.post(f"/admin/inventory/stockmovement/{movement.pk}/change/", {"delta": 9})
    assert change.status_code == 403


def test_a_form_that_is_sent_twice_moves_stock_once(operator):
    """The answer to the first request was lost on its way to the browser."""
    product = ProductFactory.create(on_hand=5)
    address = f"{page_of(product)}/move_stock/"
    sent = to_confirm(operator, address, kind="received", delta=100, reason="delivery 7")
    page = operator.post(address, sent)["Location"]
    assert message_of(operator, page) == f"On hand: 105 (+100) of {product.sku}."
    operator.post(address, sent)
    assert message_of(operator, page).startswith("This form was sent before; nothing was done again. On hand")
    product.refresh_from_db()
    assert product.on_hand == 105
    move(operator, product, kind="received", delta=100)
    product.refresh_from_db()
    assert product.on_hand == 205


def test_a_count_that_another_operator_has_corrected_meanwhile_is_not_corrected_again(operator):
    product = ProductFactory.create(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    first = to_confirm(operator, address, kind="adjusted", delta=-2, reason="counted 13")
    second = to_confirm(operator, address, kind="adjusted", delta=-2, reason="13 on the shelf")
    operator.post(address, first)
    refused = operator.post(address, second)
    assert "was moved meanwhile: -2, &#x27;counted 13&#x27;; 13 on hand now" in refused.content.decode()
    product.refresh_from_db()
    assert product.on_hand == 13
    # Seen and confirmed again, it is done.
    again = shown(
        operator, address, **{name: second[name] for name in ("form_id", "kind", "delta", "reason")}
    )
    assert dict(again.context["preview"].facts)["On hand"] == "13 → 11"
    operator.post(address, dict(again.context["hidden"]) | {"confirmed": "yes"})
    product.refresh_from_db()
    assert product.on_hand == 11


def test_sales_meanwhile_don_t_refuse_a_correction(operator):
    product = ProductFactory.create(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    sent = to_confirm(operator, address, kind="adjusted", delta=-2, reason="count")
    StockMovementFactory.create(product=product, kind="sold", delta=-5, on_hand_after=10)
    Product.objects.update(on_hand=10)
    operator.post(address, sent)
    product.refresh_from_db()
    assert product.on_hand == 8


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_who_correct_the_same_count_at_once_one_does(operator):
    product = ProductFactory.create(on_hand=15)
    address = f"{page_of(product)}/move_stock/"
    clients = [Client() for _ in range(4)]
    for client in clients:
        client.force_login(SuperuserFactory.create())
    sent = [to_confirm(client, address, kind="adjusted", delta=-2, reason="count") for client in clients]

    responses = race(
        [partial(client.post, address, form) for client, form in zip(clients, sent, strict=True)]
    )

    assert sorted(response.status_code for response in responses) == [200, 200, 200, 302]
    product.refresh_from_db()
    assert (product.on_hand, StockMovement.objects.count()) == (13, 2)


@pytest.mark.django_db(transaction=True)
def test_without_the_comparison_under_the_lock_all_of_them_do(operator):
    """The control case: each delta alone is exact, and the count is corrected four times."""
    product = ProductFactory.create(on_hand=15)
    correct = partial(adjustments.adjust, product_id=product.pk, delta=-2, reason="count")
    race([correct] * 4)
    product.refresh_from_db()
    assert product.on_hand == 7


@pytest.mark.django_db(transaction=True)
def test_a_form_that_is_sent_four_times_at_once_moves_stock_once(operator):
    product = ProductFactory.create(on_hand=5)
    address = f"{page_of(product)}/move_stock/"
    sent = to_confirm(operator, address, kind="received", delta=100, reason="delivery 7")

    responses = race([partial(operator.post, address, sent)] * 4)

    assert [response.status_code for response in responses] == [302] * 4
    product.refresh_from_db()
    assert (product.on_hand, StockMovement.objects.count()) == (105, 2)
