"""The API of refunds, over HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from inventory.models import Product
from orders.models import Order, Refund, Saga
from orders.tests import buying
from shop.models import IdempotencyKey
from shop.tests.case_tables import in_one_test
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory, SuperuserFactory

pytestmark = pytest.mark.django_db(transaction=True)
FIELDS = {
    "id", "order", "status", "amount", "points_amount", "card_amount", "items", "reason", "restock",
    "source", "created_at",
}  # fmt: skip
ALL = {"reason": "It came broken."}


@pytest.fixture
def order(buyer: User, product: Product) -> Order:
    """Three at 500: 300 by points, 1,200 by card."""
    return buying.advance(buying.place(buyer.id, {product: 3}, points=300, token="tok_ok"))


@pytest.fixture
def path(order: Order) -> str:
    return f"/orders/{order.id}/refunds"


@pytest.fixture
def staff() -> Api:
    """Staff with the permission to refund only."""
    return client_of(AccountFactory(is_staff=True, permissions=["orders.add_refund", "orders.view_refund"]))


def test_a_refund_is_202_and_its_order_is_refunding_and_then_paid_again(
    staff: Api, buyer: User, order: Order, product: Product, path: str
) -> None:
    items = [{"product": product.id, "quantity": 1}]
    answer = staff.post(path, {"items": items, "reason": "Too small", "restock": False}, key="a")
    refund = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, f"/api/v1{path}")
    assert set(refund) == FIELDS
    assert (refund["order"], refund["status"]) == (str(order.id), "pending")
    assert (refund["amount"], refund["points_amount"], refund["card_amount"]) == (500, 100, 400)
    assert (refund["items"], refund["reason"], refund["restock"]) == (items, "Too small", False)
    owner = client_of(buyer)
    shown = owner.get(f"/orders/{order.id}").json()
    assert (shown["status"], shown["refunded_amount"]) == ("refunding", 0)
    assert owner.get(path).json()["results"] == [refund]
    buying.settle_everything()
    shown = owner.get(f"/orders/{order.id}").json()
    assert (shown["status"], shown["refunded_amount"]) == ("paid", 500)
    assert owner.get(path).json()["results"] == [refund | {"status": "succeeded"}]
    assert staff.get(path).json() == owner.get(path).json()
    assert buying.broken_laws() == []


REFUSED: list[tuple[dict[str, Any], str, str]] = [
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


@in_one_test(("body", "field", "code"), REFUSED)
def test_a_body_that_is_wrong_is_400_and_names_its_field(
    body: dict[str, Any], field: str, code: str, staff: Api, path: str
) -> None:
    answer = staff.post(path, body, key="a")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [(field, code)]
    assert not Refund.objects.exists()


def test_a_repeated_key_gets_the_same_bytes_and_refunds_once(staff: Api, order: Order, path: str) -> None:
    first = staff.post(path, ALL, key="a")
    buying.settle_everything()
    again = staff.post(path, ALL | {"restock": None}, key='"a"')
    assert (again.status_code, again.content, again["Location"]) == (202, first.content, first["Location"])
    assert (again["Idempotency-Replayed"], "Idempotency-Replayed" in first) == ("true", False)
    assert Refund.objects.count() == 1
    other = staff.post(path, {"reason": "Another"}, key="a")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert IdempotencyKey.objects.get(reference__in=Refund.objects.values("id")).status == 202
    assert buying.broken_laws() == []


def test_a_refund_needs_a_key(staff: Api, path: str) -> None:
    answer = staff.post(path, ALL)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")


def test_only_staff_who_may_refund_refund(buyer: User, path: str) -> None:
    """For every order, and before anything about it is disclosed."""
    helpless = AccountFactory(is_staff=True, permissions=["orders.view_refund", "orders.change_order"])
    for account in (buyer, AccountFactory(), helpless):
        for where in (path, f"/orders/{uuid4()}/refunds"):
            answer = client_of(account).post(where, {"nonsense": True})
            assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert client_of().post(path, ALL, key="a").status_code == 401
    assert not Refund.objects.exists()


def test_refunds_are_seen_by_the_owner_and_by_staff(order: Order, buyer: User, staff: Api, path: str) -> None:
    started = buying.refund(order.id)
    for api in (client_of(buyer), staff, client_of(SuperuserFactory())):
        assert [one["id"] for one in api.get(path).json()["results"]] == [str(started.refund.id)]
    for api in (client_of(AccountFactory()), client_of(AccountFactory(is_staff=True))):
        assert (api.get(path).status_code, api.get(path).json()["code"]) == (404, "not_found")
    assert client_of().get(path).status_code == 401


def test_an_unknown_order_is_404(staff: Api) -> None:
    nowhere = f"/orders/{uuid4()}/refunds"
    assert staff.get(nowhere).status_code == 404
    assert staff.post(nowhere, ALL, key="a").json()["code"] == "not_found"


def test_without_a_worker_the_saga_is_due_for_recovery(staff: Api, path: str) -> None:
    staff.post(path, ALL, key="a")
    row = Saga.objects.get(kind="refund")
    assert row.next_attempt_at is not None
    assert row.next_attempt_at > row.created_at
