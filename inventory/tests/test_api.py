"""Products and stock over HTTP: the contract's fields, filters and refusals."""

import time
from datetime import datetime

import pytest

from accounts.tests.clients import client_of, new_customer, problem_of
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests import servers
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import set_columns, staff_member
from inventory import products
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db

MISSING = "/products/999999"


@pytest.fixture
def anon():
    return client_of()


@pytest.fixture
def user():
    return new_customer()


@pytest.fixture
def staff():
    names = ["add_product", "change_product", "view_product", "add_stockmovement", "view_stockmovement"]
    permissions = [f"inventory.{name}" for name in names]
    return client_of(staff_member(*permissions))


def expect_refusal(response, status: int, code: str) -> dict:
    assert problem_of(response) == (status, code)
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def expect_wrong_fields(response, *fields: str):
    body = expect_refusal(response, 400, "invalid")
    assert sorted(error["field"] for error in body["errors"]) == sorted(fields)


def test_a_product_shows_the_contracts_fields(anon):
    terms = {"sku": "TEA-1", "name": "Tea", "price": 4_500}
    product = ProductFactory(**terms, on_hand=3)
    stock = {"available": 3, "availability": "available", "is_active": True, "limit_per_account": None}
    shown = anon.read(f"/products/{product.id}")
    times = {"created_at": shown["created_at"], "updated_at": shown["created_at"]}
    expected = terms | stock | times | {"id": product.id, "currency": "KRW", "rank": None}
    assert shown == expected
    assert datetime.fromisoformat(shown["created_at"]) == product.created_at
    assert anon.read("/products") == {"results": [expected], "next": None, "previous": None}


def test_the_list_is_searched_filtered_and_paged(anon):
    for number in range(5):
        ProductFactory(sku=f"TEA-{number}", on_hand=number)
    ProductFactory(sku="CUP", on_hand=1)
    first = anon.read("/products?search=tea&availability=available&limit=3")
    second = anon.read(first["next"])
    found = [product["sku"] for product in first["results"] + second["results"]]
    assert found == ["TEA-4", "TEA-3", "TEA-2", "TEA-1"]
    assert second["next"] is None


def test_only_staff_with_the_permission_see_inactive_products(anon, user, staff):
    product = ProductFactory(is_active=False)
    other_staff = client_of(staff_member())
    for client in (anon, user, other_staff):
        expect_refusal(client.get(f"/products/{product.id}"), 404, "not_found")
        assert client.rows("/products") == []
    assert staff.read(f"/products/{product.id}")["is_active"] is False
    assert len(staff.rows("/products")) == 1


@in_one_test(("query", "field"), [("availability=gone", "availability"), (f"search={'x' * 101}", "search")])
def test_an_invalid_query_is_refused(anon, query, field):
    expect_wrong_fields(anon.get(f"/products?{query}"), field)


def test_a_search_has_five_words_at_most(anon, staff):
    ProductFactory(name="One pot of green tea")
    for client in (anon, staff):
        assert len(client.rows("/products?search=tea+green%20 of%09pot%E3%80%80one")) == 1
        refused = client.get("/products?search=a+pot+of+tea+for+two")
        expect_wrong_fields(refused, "search")
        assert refused.json()["errors"][0]["code"] == "too_many_words"


def test_the_server_ends_a_search_that_takes_longer_than_a_second(transactional_db, anon, staff, monkeypatch):
    """One of 49 words took the database 2.2 s."""
    ProductFactory(name="Pot")
    find = products.find
    monkeypatch.setattr(products, "find", lambda **asked: find(**asked).extra(where=["SLEEP(9) = 0"]))
    for client in (anon, staff):
        began_at = time.monotonic()
        refused = expect_refusal(client.get("/products?search=pot"), 503, "unavailable")
        assert "took too long" in refused["detail"] and time.monotonic() - began_at < 8
        assert servers.statement_limit_seconds() == 0, "a connection has no limit after its search"


@in_one_test("path", [MISSING, f"/products/{2**63}"])
def test_products_that_do_not_exist_are_not_found(staff, path):
    expect_refusal(staff.get(path), 404, "not_found")
    expect_refusal(staff.patch(path, {"name": "Tea"}), 404, "not_found")
    expect_refusal(staff.get(f"{path}/stock"), 404, "not_found")
    expect_refusal(staff.get(f"{path}/stock-movements"), 404, "not_found")
    adjustment = staff.post(f"{path}/stock-adjustments", {"delta": 1, "reason": "count"}, key="one")
    expect_refusal(adjustment, 404, "not_found")
    assert not IdempotencyKey.objects.exists()


def test_staff_calls_are_refused_to_other_users_whether_there_is_the_object_or_not(anon, user):
    """Of one that there is: `shop/tests/test_access_matrix.py`."""
    no_permissions = client_of(staff_member())
    refused = [(anon, 401, "not_authenticated")]
    refused += [(client, 403, "permission_denied") for client in (user, no_permissions)]
    for client, status, code in refused:
        expect_refusal(client.post("/products", {"sku": 1}), status, code)
        expect_refusal(client.patch(MISSING, {"sku": 1}), status, code)
        expect_refusal(client.post(f"{MISSING}/stock-adjustments", {}), status, code)
        expect_refusal(client.get(f"{MISSING}/stock"), status, code)
        expect_refusal(client.get(f"{MISSING}/stock-movements"), status, code)


def test_staff_create_a_product(staff):
    made = staff.post("/products", {"sku": "TEA-1", "name": "Tea", "price": 0})
    assert made.status_code == 201
    product = Product.objects.get()
    assert made.json() == staff.read(made["Location"])
    assert made["Location"] == f"/api/v1/products/{product.id}"
    assert (made.json()["availability"], made.json()["is_active"]) == ("sold_out", True)
    expect_refusal(staff.post("/products", {"sku": "TEA-1", "name": "Other", "price": 1}), 409, "sku_exists")


def test_staff_change_a_product_by_what_they_send(staff):
    product = ProductFactory(sku="TEA-1", name="Tea", price=100)
    ProductFactory(sku="TEA-2")
    changed = staff.patch(f"/products/{product.id}", {"price": 200})
    assert (changed.status_code, changed.json()["price"], changed.json()["name"]) == (200, 200, "Tea")
    assert staff.patch(f"/products/{product.id}").json() == changed.json()
    expect_refusal(staff.patch(f"/products/{product.id}", {"sku": "TEA-2"}), 409, "sku_exists")


def test_staff_set_a_threshold_which_nobody_sees_and_a_limit_per_account_which_all_do(staff, anon):
    terms = {"low_stock_threshold": 7, "limit_per_account": 2}
    made = staff.post("/products", {"sku": "TEA-1", "name": "Tea", "price": 1} | terms).json()
    path, product = f"/products/{made['id']}", Product.objects.get()
    assert (product.low_stock_threshold, made["limit_per_account"]) == (7, 2)
    for sent in ({"low_stock_threshold": 0, "limit_per_account": 5}, {"price": 2}):
        changed = staff.patch(path, sent).json()
        product.refresh_from_db()
        assert (product.low_stock_threshold, changed["limit_per_account"]) == (0, 5)
        assert "low_stock_threshold" not in changed
    assert anon.read(path)["limit_per_account"] == 5

    assert staff.patch(path, dict.fromkeys(terms)).json()["limit_per_account"] is None
    product.refresh_from_db()
    assert (product.low_stock_threshold, product.limit_per_account) == (None, None)


@in_one_test(
    ("field", "values"),
    [
        ("sku", ["", "a b", "녹차", "TEA\n", "x" * 65]),
        ("name", ["  ", "x" * 256]),
        ("price", [-1, "1"]),
        ("is_active", [1]),
        ("low_stock_threshold", [-1, 10**9 + 1]),
        ("limit_per_account", [0, 10**9 + 1]),
        ("on_hand", [5]),
        ("id", [5]),
    ],
)
def test_a_product_with_a_wrong_field_is_refused_and_nothing_written(staff, field, values):
    for value in values:
        good = {"sku": "TEA-1", "name": "Tea", "price": 1}
        expect_wrong_fields(staff.post("/products", good | {field: value}), field)
    assert not Product.objects.exists()


def test_an_adjustment_moves_what_is_on_hand(staff):
    product = ProductFactory(on_hand=10)
    path = f"/products/{product.id}"
    answer = staff.post(f"{path}/stock-adjustments", {"delta": -4, "reason": "broken"}, key="one")
    movement = StockMovement.objects.latest("id")
    assert answer.status_code == 201
    moved = {"kind": "adjusted", "delta": -4, "on_hand_after": 6, "order": None, "reason": "broken"}
    assert answer.json() == moved | {"id": movement.id, "at": answer.json()["at"]}
    assert answer.json()["at"].endswith("Z")
    assert staff.read(f"{path}/stock") == {"on_hand": 6, "reserved": 0, "available": 6}
    assert staff.rows(f"{path}/stock-movements")[0] == answer.json()


def test_an_adjustment_below_what_is_reserved_is_refused_and_its_key_stays_unused(staff):
    product = ProductFactory(on_hand=10)
    set_columns(product, reserved=7)
    path = f"/products/{product.id}/stock-adjustments"
    wanted = {"delta": -4, "reason": "broken"}
    expect_refusal(staff.post(path, wanted), 400, "idempotency_key_missing")
    expect_refusal(staff.post(path, wanted, key="x" * 256), 400, "idempotency_key_invalid")
    body = expect_refusal(staff.post(path, wanted, key="one"), 409, "insufficient_stock")
    assert body["items"] == [{"product": product.id, "requested": 4, "available": 3}]
    assert staff.post(path, {"delta": -3, "reason": "broken"}, key="one").status_code == 201
    expect_refusal(staff.post(path, {"delta": -1, "reason": "broken"}, key="two"), 409, "insufficient_stock")
    assert staff.read(f"/products/{product.id}")["availability"] == "reserved"


@in_one_test(
    ("field", "values"),
    [("delta", [0, 10**9 + 1, -(10**9) - 1, "1"]), ("reason", ["", " ", "x" * 256]), ("kind", ["received"])],
)
def test_an_adjustment_with_a_wrong_field_is_refused_and_nothing_written(staff, field, values):
    path = f"/products/{ProductFactory().id}/stock-adjustments"
    for value in values:
        wrong = {"delta": 1, "reason": "count", field: value}
        expect_wrong_fields(staff.post(path, wrong, key="one"), field)
    assert not StockMovement.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_staff_pause_and_resume_it_over_http_and_repeats_answer_the_same():
    product, why = ProductFactory(on_hand=3), {"reason": "The price is wrong."}
    ada = staff_member("inventory.change_product")
    staff, shown = client_of(ada), client_of().read(f"/products/{product.pk}")

    for path in ("pause", "pause", "resume", "resume"):
        answer = staff.post(f"/products/{product.pk}/{path}", why)
        product.refresh_from_db()
        updated_at = {"updated_at": answer.json()["updated_at"]}
        assert (answer.status_code, answer.json()) == (200, shown | updated_at)
        assert (product.paused_at is not None) == (path == "pause")

    lines = JournalLine.objects.filter(subject=f"product {product.pk}", actor_id=ada.pk).order_by("id")
    assert [line.what for line in lines] == ["product.paused", "product.resumed"]
    wrong = [None, {}, *({"reason": reason} for reason in (None, " ", "x" * 501, 1))]
    for call in ("pause", "resume"):
        path = f"/products/{product.pk}/{call}"
        for body in wrong:
            expect_wrong_fields(staff.post(path, body), "reason")
        expect_wrong_fields(staff.post(path, why | {"until": "noon"}), "until")
        expect_refusal(staff.post(f"{MISSING}/{call}", why), 404, "not_found")
        product.refresh_from_db()
        assert product.paused_at is None
