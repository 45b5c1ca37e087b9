"""The API of orders, payments and refunds over HTTP, with a real worker where one is needed."""

from uuid import uuid4

import pytest

from accounts.tests.clients import client_of, faults, new_superuser, problem_of
from coupons.models import Coupon
from foundation.models import IdempotencyKey
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, staff_member
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund
from orders.saga import rows as saga_rows
from orders.tests import buying
from orders.tests.buying import order_of

pytestmark = pytest.mark.django_db(transaction=True)
FIELDS = {
    "id", "number", "status", "items", "items_amount", "discount_amount", "points_amount", "card_amount",
    "total_amount", "refunded_amount", "currency", "coupon", "metadata", "placed_at", "expires_at", "paid_at",
    "payment", "failure", "account",
}  # fmt: skip


def test_an_order_without_payment_awaits_it(api, product):
    answer = api.post("/orders", order_of(product, quantity=2), key="a")
    order = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/v1/orders/{order['id']}"
    assert set(order) == FIELDS
    assert order["status"] == "awaiting_payment"
    assert (order["account"], order["currency"]) == (Order.objects.get().account_id, "KRW")
    named = {"product": product.id, "sku": product.sku, "name": product.name}
    assert order["items"] == [named | {"quantity": 2, "unit_price": 500, "line_amount": 1_000}]
    assert (order["total_amount"], order["card_amount"], order["paid_at"]) == (1_000, 1_000, None)
    assert api.read(answer["Location"]) == order


def test_lines_are_returned_in_the_order_of_the_request(api):
    products = [ProductFactory(on_hand=1).id for _ in range(3)]
    asked = [products[1], products[2], products[0]]
    body = {"items": [{"product": product_id, "quantity": 1} for product_id in asked]}
    order = api.post("/orders", body, key="a").json()
    assert [item["product"] for item in order["items"]] == asked
    assert api.read(f"/orders/{order['id']}") == order
    assert api.rows("/orders") == [order]


ONE = {"items": [{"product": 1, "quantity": 1}]}
REFUSED = [
    ({"items": []}, "items", "too_short"),
    ({}, "items", "required"),
    ({"items": [{"product": 1, "quantity": 0}]}, "items.0.quantity", "greater_than_equal"),
    ({"items": [{"product": 1, "quantity": 1001}]}, "items.0.quantity", "less_than_equal"),
    ({"items": [{"product": 1, "quantity": "1"}]}, "items.0.quantity", "int_type"),
    ({"items": [{"product": 1, "quantity": 1}] * 2}, "items", "product_twice"),
    ({"items": [{"product": n, "quantity": 1} for n in range(1, 52)]}, "items", "too_long"),
    (ONE | {"points_amount": -1}, "points_amount", "greater_than_equal"),
    ({"items": [{"product": 1, "quantity": 1, "price": 1}]}, "items.0.price", "unknown_field"),
    (ONE | {"status": "paid"}, "status", "unknown_field"),
    (ONE | {"payment": {"token": ""}}, "payment.token", "string_too_short"),
    (ONE | {"payment": "tok_ok"}, "payment", "model_type"),
]


@in_one_test(("body", "field", "code"), REFUSED)
def test_bad_bodies_are_refused_field_by_field(api, body, field, code):
    answer = api.post("/orders", body, key="a")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "invalid")
    named = {error["field"]: error["code"] for error in problem["errors"]}
    assert named[field] == code
    assert not Order.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_more_points_than_the_order_costs_are_refused(api, product):
    refused = api.post("/orders", order_of(product, "tok_ok", points_amount=501), key="a")
    assert faults(refused) == [("points_amount", "over_total")]


def test_an_unusable_coupon_is_refused_with_the_reason(api, buyer, product):
    somebody_elses = buying.coupon_code(AccountFactory())
    above = buying.coupon_code(buyer, min_order_amount=10_000)
    held = buying.coupon_code(buyer)
    assert api.post("/orders", order_of(product) | {"coupon": held}, key="first").status_code == 201
    wrong = (somebody_elses, "NO-SUCH", above.swapcase(), f"{above[:3]} {above[3:]}")
    reasons = dict.fromkeys(wrong, "not_found") | {above: "below_minimum", held: "held"}
    for code, reason in reasons.items():
        answer = api.post("/orders", order_of(product) | {"coupon": code}, key=f"with-{code}")
        assert problem_of(answer) == (409, "coupon_not_usable")
        assert answer.json()["reason"] == reason


def test_lists_come_newest_first_by_status_in_pages_and_staff_read_and_cancel_all_orders(api, buyer, product):
    ids = [str(buying.order(buyer, product).id) for _ in range(3)]
    api.post(f"/orders/{ids[0]}/cancel")
    first = api.read("/orders?limit=2")
    assert [row["id"] for row in first["results"]] == [ids[2], ids[1]]
    second = api.read(first["next"])
    assert [row["id"] for row in second["results"]] == [ids[0]]
    assert second["next"] is None
    assert [row["id"] for row in api.rows("/orders?status=cancelled")] == [ids[0]]
    assert api.get("/orders?status=nonsense").json()["code"] == "invalid"
    other, staff = buying.account().id, new_superuser()
    theirs = str(buying.order(other, product).id)
    assert [row["id"] for row in staff.rows("/orders")] == [theirs, *ids[::-1]]
    assert [row["id"] for row in staff.rows(f"/orders?user={other}")] == [theirs]
    assert staff.post(f"/orders/{theirs}/cancel").json()["status"] == "cancelled"


def test_cancelling_accepts_an_empty_body_alone_releases_everything_and_a_repeat_changes_nothing(
    api, buyer, product
):
    coupon = buying.coupon_code(buyer)
    order = f"/orders/{api.post('/orders', order_of(product, coupon=coupon), key='a').json()['id']}"
    unknown = api.post(f"{order}/cancel", {"reason": "too dear"})
    assert faults(unknown) == [("reason", "unknown_field")]
    assert api.post(f"{order}/cancel", b"{").json()["code"] == "malformed_json"
    assert api.read(order)["status"] == "awaiting_payment"
    first, second = api.post(f"{order}/cancel"), api.post(f"{order}/cancel", {})
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert second.json() == first.json()
    assert Coupon.objects.get(code=coupon).status == "issued"
    assert api.post("/orders", order_of(product, coupon=coupon), key="b").status_code == 201


def test_an_order_past_its_time_is_expired_before_the_sweep(api, product, settings):
    settings.ORDER_HOLD_SECONDS = 0
    order = api.post("/orders", order_of(product), key="a").json()
    assert api.read(f"/orders/{order['id']}")["status"] == "expired"
    assert [row["id"] for row in api.rows("/orders?status=expired")] == [order["id"]]
    assert api.rows("/orders?status=awaiting_payment") == []
    pay = api.post("/payments", {"order": order["id"], "token": "tok_ok"}, key="b")
    assert pay.json()["code"] == "order_not_payable"
    assert api.post(f"/orders/{order['id']}/cancel").json()["code"] == "order_not_cancellable"


REFUND_FIELDS = {
    "id", "order", "status", "amount", "points_amount", "card_amount", "items", "reason", "restock",
    "source", "created_at", "account", "currency",
}  # fmt: skip
ALL = {"reason": "It came broken."}


@pytest.fixture
def order(buyer, product):
    """Three at 500: 300 by points, 1,200 by card."""
    return buying.buy(buyer, {product: 3}, points=300)


@pytest.fixture
def path(order):
    return f"/orders/{order.id}/refunds"


@pytest.fixture
def staff():
    """Staff with the permission to refund only."""
    return client_of(staff_member("orders.add_refund", "orders.view_refund"))


def test_a_refund_is_202_and_its_order_is_refunding_and_then_paid_again(staff, buyer, order, product, path):
    items = [{"product": product.id, "quantity": 1}]
    answer = staff.post(path, {"items": items, "reason": "Too small", "restock": False}, key="a")
    refund = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, f"/api/v1{path}")
    assert set(refund) == REFUND_FIELDS
    assert (refund["order"], refund["status"]) == (str(order.id), "pending")
    assert (refund["account"], refund["currency"]) == (buyer.id, "KRW")
    assert (refund["amount"], refund["points_amount"], refund["card_amount"]) == (500, 100, 400)
    assert (refund["items"], refund["reason"], refund["restock"]) == (items, "Too small", False)
    assert saga_rows.due().filter(kind="refund").exists(), "without a worker it is recovered"
    owner = client_of(buyer)
    shown = owner.read(f"/orders/{order.id}")
    assert (shown["status"], shown["refunded_amount"]) == ("refunding", 0)
    assert owner.rows(path) == [refund]
    buying.settle_everything()
    shown = owner.read(f"/orders/{order.id}")
    assert (shown["status"], shown["refunded_amount"]) == ("paid", 500)
    assert owner.rows(path) == [refund | {"status": "succeeded"}]
    assert staff.read(path) == owner.read(path)


REFUSED_REFUNDS = [
    ({}, "reason", "required"),
    ({"reason": ""}, "reason", "string_pattern_mismatch"),
    ({"reason": " "}, "reason", "string_pattern_mismatch"),
    ({"reason": "x" * 256}, "reason", "string_too_long"),
    (ALL | {"items": []}, "items", "too_short"),
    (ALL | {"items": {}}, "items", "list_type"),
    (ALL | {"items": [{"product": 1}]}, "items.0.quantity", "required"),
    (ALL | {"items": [{"product": 1, "quantity": 0}]}, "items.0.quantity", "greater_than_equal"),
    (ALL | {"items": [{"product": 1, "quantity": -1}]}, "items.0.quantity", "greater_than_equal"),
    (ALL | {"items": [{"product": 1, "quantity": "1"}]}, "items.0.quantity", "int_type"),
    (ALL | {"items": [{"product": 1, "quantity": 1}] * 2}, "items", "product_twice"),
    (ALL | {"items": [{"product": n, "quantity": 1} for n in range(1, 52)]}, "items", "too_long"),
    (ALL | {"restock": "true"}, "restock", "bool_type"),
    (ALL | {"amount": 100}, "amount", "unknown_field"),
]


@in_one_test(("body", "field", "code"), REFUSED_REFUNDS)
def test_a_body_that_is_wrong_is_400_and_names_its_field(body, field, code, staff, path):
    assert faults(staff.post(path, body, key="a")) == [(field, code)]
    assert not Refund.objects.exists()


def test_a_repeated_key_gets_the_same_bytes_and_refunds_once(staff, order, path):
    first = staff.post(path, ALL, key="a")
    buying.settle_everything()
    again = staff.post(path, ALL | {"restock": None}, key='"a"')
    assert (again.status_code, again.content, again["Location"]) == (202, first.content, first["Location"])
    assert (again["Idempotency-Replayed"], "Idempotency-Replayed" in first) == ("true", False)
    assert Refund.objects.count() == 1
    assert problem_of(staff.post(path, {"reason": "Another"}, key="a")) == (422, "idempotency_key_reused")
    assert IdempotencyKey.objects.get(reference__in=Refund.objects.values("id")).status == 202


def test_keyed_calls_need_a_key(api, staff, path):
    for caller, address in ((api, "/orders"), (api, "/payments"), (api, "/wallet/top-ups"), (staff, path)):
        answer = caller.post(address, ALL)
        assert problem_of(answer) == (400, "idempotency_key_missing"), address


def test_only_staff_who_may_refund_refund_and_to_them_an_unknown_order_is_404(buyer, staff, path):
    """For every order, and before anything about it is disclosed."""
    helpless = staff_member("orders.view_refund", "orders.change_order")
    for account in (buyer, AccountFactory(), helpless):
        for where in (path, f"/orders/{uuid4()}/refunds"):
            answer = client_of(account).post(where, {"nonsense": True})
            assert problem_of(answer) == (403, "permission_denied")
    assert client_of().post(path, ALL, key="a").status_code == 401
    assert not Refund.objects.exists()
    nowhere = f"/orders/{uuid4()}/refunds"
    assert staff.get(nowhere).status_code == 404
    assert staff.post(nowhere, ALL, key="a").json()["code"] == "not_found"
