"""Products and stock over HTTP: the contract's fields, filters and refusals."""

import pytest

from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, levels_of
from shop.models import IdempotencyKey
from shop.tests.case_tables import in_one_test
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

MISSING = "/products/999999"
TOO_LARGE_AN_ID = f"/products/{2**63}"


@pytest.fixture
def anon() -> Api:
    return client_of()


@pytest.fixture
def user() -> Api:
    return client_of(AccountFactory.create())


@pytest.fixture
def staff() -> Api:
    names = ["add_product", "change_product", "view_product", "add_stockmovement", "view_stockmovement"]
    return client_of(
        AccountFactory.create(is_staff=True, permissions=[f"inventory.{name}" for name in names])
    )


def expect_refusal(response, status: int, code: str) -> dict:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def expect_wrong_fields(response, *fields: str) -> None:
    body = expect_refusal(response, 400, "invalid")
    assert sorted(error["field"] for error in body["errors"]) == sorted(fields)


def test_a_product_shows_the_contracts_fields(anon):
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=4_500, on_hand=3)
    expected = {
        "id": product.id,
        "sku": "TEA-1",
        "name": "Tea",
        "price": 4_500,
        "available": 3,
        "availability": "available",
        "is_active": True,
        "limit_per_account": None,
    }
    assert anon.get(f"/products/{product.id}").json() == expected
    assert anon.get("/products").json() == {"results": [expected], "next": None, "previous": None}


def test_the_list_is_searched_filtered_and_paged(anon):
    for number in range(5):
        ProductFactory.create(sku=f"TEA-{number}", on_hand=number)
    ProductFactory.create(sku="CUP", on_hand=1)
    first = anon.get("/products?search=tea&availability=available&limit=3").json()
    second = anon.get(first["next"]).json()
    found = [product["sku"] for product in first["results"] + second["results"]]
    assert found == ["TEA-1", "TEA-2", "TEA-3", "TEA-4"]
    assert second["next"] is None


def test_only_staff_with_the_permission_see_inactive_products(anon, user, staff):
    product = ProductFactory.create(is_active=False)
    other_staff = client_of(AccountFactory.create(is_staff=True))
    for client in (anon, user, other_staff):
        expect_refusal(client.get(f"/products/{product.id}"), 404, "not_found")
        assert client.get("/products").json()["results"] == []
    assert staff.get(f"/products/{product.id}").json()["is_active"] is False
    assert len(staff.get("/products").json()["results"]) == 1


@in_one_test(("query", "field"), [("availability=gone", "availability"), (f"search={'x' * 101}", "search")])
def test_an_invalid_query_is_refused(anon, query, field):
    expect_wrong_fields(anon.get(f"/products?{query}"), field)


@in_one_test("path", [MISSING, TOO_LARGE_AN_ID])
def test_products_that_do_not_exist_are_not_found(staff, path):
    expect_refusal(staff.get(path), 404, "not_found")
    expect_refusal(staff.patch(path, {"name": "Tea"}), 404, "not_found")
    expect_refusal(staff.get(f"{path}/stock"), 404, "not_found")
    expect_refusal(staff.get(f"{path}/stock-movements"), 404, "not_found")
    adjustment = staff.post(f"{path}/stock-adjustments", {"delta": 1, "reason": "count"}, key="one")
    expect_refusal(adjustment, 404, "not_found")
    assert not IdempotencyKey.objects.exists()


def test_staff_calls_are_refused_to_other_users_for_any_object(anon, user):
    product = ProductFactory.create()
    no_permissions = client_of(AccountFactory.create(is_staff=True))
    for path in (f"/products/{product.id}", MISSING):
        for call in (
            lambda client, path: client.post("/products", {"sku": 1}),
            lambda client, path: client.patch(path, {"sku": 1}),
            lambda client, path: client.post(f"{path}/stock-adjustments", {}),
            lambda client, path: client.get(f"{path}/stock"),
            lambda client, path: client.get(f"{path}/stock-movements"),
        ):
            expect_refusal(call(anon, path), 401, "not_authenticated")
            expect_refusal(call(user, path), 403, "permission_denied")
            expect_refusal(call(no_permissions, path), 403, "permission_denied")


def test_staff_create_a_product(staff):
    made = staff.post("/products", {"sku": "TEA-1", "name": "Tea", "price": 0})
    assert made.status_code == 201
    product = Product.objects.get()
    assert made.json() == staff.get(made["Location"]).json()
    assert made["Location"] == f"/api/v1/products/{product.id}"
    assert (made.json()["availability"], made.json()["is_active"]) == ("sold_out", True)
    expect_refusal(staff.post("/products", {"sku": "TEA-1", "name": "Other", "price": 1}), 409, "sku_exists")


def test_staff_change_a_product_by_what_they_send(staff):
    product = ProductFactory.create(sku="TEA-1", name="Tea", price=100)
    ProductFactory.create(sku="TEA-2")
    changed = staff.patch(f"/products/{product.id}", {"price": 200, "name": None})
    assert (changed.status_code, changed.json()["price"], changed.json()["name"]) == (200, 200, "Tea")
    assert staff.patch(f"/products/{product.id}").json() == changed.json()
    expect_refusal(staff.patch(f"/products/{product.id}", {"sku": "TEA-2"}), 409, "sku_exists")


def test_staff_set_a_threshold_which_nobody_sees_and_a_limit_per_account_which_all_do(staff, anon):
    terms = {"low_stock_threshold": 7, "limit_per_account": 2}
    made = staff.post("/products", {"sku": "TEA-1", "name": "Tea", "price": 1} | terms).json()
    path, product = f"/products/{made['id']}", Product.objects.get()
    assert (product.low_stock_threshold, made["limit_per_account"]) == (7, 2)
    for sent in ({"low_stock_threshold": 0, "limit_per_account": 5}, {"price": 2}, dict.fromkeys(terms)):
        changed = staff.patch(path, sent).json()
        product.refresh_from_db()
        assert (product.low_stock_threshold, changed["limit_per_account"]) == (0, 5)
        assert "low_stock_threshold" not in changed
    assert anon.get(path).json()["limit_per_account"] == 5


GOOD_PRODUCT = {"sku": "TEA-1", "name": "Tea", "price": 1}


@in_one_test(
    ("wrong", "field"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": "a b"}, "sku"),
        ({"sku": "녹차"}, "sku"),
        ({"sku": "TEA\n"}, "sku"),
        ({"sku": "x" * 65}, "sku"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"price": -1}, "price"),
        ({"price": "1"}, "price"),
        ({"is_active": 1}, "is_active"),
        ({"low_stock_threshold": -1}, "low_stock_threshold"),
        ({"low_stock_threshold": 10**9 + 1}, "low_stock_threshold"),
        ({"limit_per_account": 0}, "limit_per_account"),
        ({"limit_per_account": 10**9 + 1}, "limit_per_account"),
        ({"on_hand": 5}, "on_hand"),
        ({"id": 5}, "id"),
    ],
)
def test_a_product_with_a_wrong_field_is_refused_and_nothing_written(staff, wrong, field):
    expect_wrong_fields(staff.post("/products", GOOD_PRODUCT | wrong), field)
    assert not Product.objects.exists()


def test_an_adjustment_moves_what_is_on_hand(staff):
    product = ProductFactory.create(on_hand=10)
    path = f"/products/{product.id}"
    answer = staff.post(f"{path}/stock-adjustments", {"delta": -4, "reason": "broken"}, key="one")
    movement = StockMovement.objects.latest("id")
    assert answer.status_code == 201
    assert answer.json() == {
        "id": movement.id,
        "kind": "adjusted",
        "delta": -4,
        "on_hand_after": 6,
        "order": None,
        "reason": "broken",
        "at": answer.json()["at"],
    }
    assert answer.json()["at"].endswith("Z")
    assert staff.get(f"{path}/stock").json() == {"on_hand": 6, "reserved": 0, "available": 6}
    assert staff.get(f"{path}/stock-movements").json()["results"][0] == answer.json()


def test_an_adjustment_repeated_with_its_key_is_answered_to_the_byte_and_not_done_again(staff):
    product = ProductFactory.create(on_hand=4)
    path = f"/products/{product.id}/stock-adjustments"
    first = staff.post(path, b'{"delta": -4, "reason": "broken"}', key="one")
    again = staff.post(path, b'{"reason":"broken","delta":-4}', key='"one"')
    assert (again.status_code, again.content) == (201, first.content)
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    other = staff.post(path, {"delta": -3, "reason": "broken"}, key="one")
    expect_refusal(other, 422, "idempotency_key_reused")
    assert levels_of(product) == (0, 0)


def test_an_adjustment_below_what_is_reserved_is_refused_and_its_key_stays_unused(staff):
    product = ProductFactory.create(on_hand=10)
    Product.objects.filter(id=product.id).update(reserved=7)
    path = f"/products/{product.id}/stock-adjustments"
    wanted = {"delta": -4, "reason": "broken"}
    expect_refusal(staff.post(path, wanted), 400, "idempotency_key_missing")
    expect_refusal(staff.post(path, wanted, key="x" * 256), 400, "idempotency_key_invalid")
    body = expect_refusal(staff.post(path, wanted, key="one"), 409, "insufficient_stock")
    assert body["items"] == [{"product": product.id, "requested": 4, "available": 3}]
    assert staff.post(path, {"delta": -3, "reason": "broken"}, key="one").status_code == 201
    expect_refusal(staff.post(path, {"delta": -1, "reason": "broken"}, key="two"), 409, "insufficient_stock")
    assert staff.get(f"/products/{product.id}").json()["availability"] == "reserved"


@in_one_test(
    ("wrong", "field"),
    [
        ({"delta": 0}, "delta"),
        ({"delta": 10**9 + 1}, "delta"),
        ({"delta": -(10**9) - 1}, "delta"),
        ({"delta": "1"}, "delta"),
        ({"reason": ""}, "reason"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 256}, "reason"),
        ({"kind": "received"}, "kind"),
    ],
)
def test_an_adjustment_with_a_wrong_field_is_refused_and_nothing_written(staff, wrong, field):
    path = f"/products/{ProductFactory.create().id}/stock-adjustments"
    expect_wrong_fields(staff.post(path, {"delta": 1, "reason": "count"} | wrong, key="one"), field)
    assert not StockMovement.objects.exists()
    assert not IdempotencyKey.objects.exists()
