"""Every POST of an account honours an `Idempotency-Key`: one effect, and the recorded answer again."""

import re
from functools import partial
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from accounts.tests import api_keys
from accounts.tests.clients import client_of, new_customer, new_superuser
from accounts.tokens import token_pairs
from coupons.codes import pool
from coupons.issuing import STRATEGIES
from coupons.models import Coupon, PoolCode
from coupons.queue import worker
from coupons.tests.factories import CampaignFactory, campaign_with_codes, campaign_with_strategy
from events.webhooks import deliveries, endpoints
from foundation.account import Account
from foundation.http import keyed_calls
from foundation.http.messages import BurstRequest
from foundation.models import IdempotencyKey
from foundation.rates.rate import Rate
from foundation.tests.asgi_client import send_request_blocking
from foundation.tests.factories import AccountFactory, SuperuserFactory
from foundation.tests.racing import race
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from sales.tests.factories import create_sale
from shop.urls import API

NO_KEYS = {
    "users",
    "users/me/password",
    "auth/token",
    "auth/refresh",
    "auth/logout",
    "webhooks/<str:gateway>",
}
"""Of nobody's account, or of tokens and passwords."""
REQUIRED = {"orders", "orders/<uuid:order_id>/refunds", "payments", "wallet/top-ups", "wallet/grants"}
REQUIRED |= {"products/<int:product_id>/stock-adjustments"}
"""Calls that have had a key of their own, with tests of it, and refuse to be made without one."""
WHY = {"reason": "late"}
URL = "https://127.0.0.1/"
DELIVERY = "webhook-endpoints/<uuid:endpoint_id>/deliveries/<int:delivery_id>"
BODIES = {
    "campaigns": {"name": "Drop", "quantity": 5, "discount": {"type": "amount", "value": 5}},
    "campaigns/<int:campaign_id>/pause": WHY,
    "campaigns/<int:campaign_id>/resume": WHY,
    "campaigns/<int:campaign_id>/codes": {"count": 1_500},
    "campaigns/<int:campaign_id>/eligible-accounts": {"users": ["buyer"]},
    "coupons": {"campaign": "campaign_id"},
    "coupons/<str:code>/void": WHY,
    "orders/<uuid:order_id>/cancel": {},
    "sales": {"name": "Night", "products": ["product_id"], "opens_at": "now", "closes_at": "later"},
    "sales/<int:sale_id>/entries": {},
    "sales/<int:sale_id>/pause": WHY,
    "sales/<int:sale_id>/resume": WHY,
    "products": {"sku": "NEW", "name": "New", "price": 5},
    "products/<int:product_id>/pause": WHY,
    "products/<int:product_id>/resume": WHY,
    "api-keys": {"name": "till", "scopes": ["orders:read"]},
    "api-keys/<int:key_id>/rotate": {},
    "webhook-endpoints": {"url": URL, "events": ["*"]},
    "webhook-endpoints/<uuid:endpoint_id>/rotate-secret": {},
    "webhook-endpoints/<uuid:endpoint_id>/test": {},
    f"{DELIVERY}/resend": WHY,
}
"""By the route of each; a text that is the name of a row stands for its id."""


def make_world() -> dict[str, Any]:
    """The rows that the calls are about, by the names of the paths' variables; a member of staff calls."""
    staff, other = SuperuserFactory(), buying.account()
    product, campaign = ProductFactory(on_hand=9), campaign_with_codes("pool")
    hook = endpoints.create(url=URL, events=["*"], owner=endpoints.Owner(staff.pk))
    return {
        "staff": staff,
        "buyer": other.pk,
        "campaign_id": campaign.pk,
        "code": buying.coupon_code(other),
        "order_id": buying.order(other, product).id,
        "product_id": product.pk,
        "sale_id": create_sale(opens_in=3_600, closes_in=7_200).pk,
        "key_id": api_keys.make("orders:read", maker=staff).key.pk,
        "endpoint_id": hook.pk,
        "delivery_id": deliveries.send_test(endpoint_id=hook.pk).pk,
        "now": timezone.now().isoformat(),
        "later": timezone.now().replace(year=2100).isoformat(),
    }


def filled(body, world: dict[str, Any]):
    if isinstance(body, dict):
        return {name: filled(value, world) for name, value in body.items()}
    if isinstance(body, list):
        return [filled(value, world) for value in body]
    return world.get(body, body)


def call(world: dict[str, Any], route: str, key: str):
    path = re.sub(r"<\w+:(\w+)>", lambda variable: str(world[variable[1]]), route)
    return client_of(world["staff"]).post(f"/{path}", filled(BODIES[route], world), key=key)


def rows() -> dict[str, int]:
    """How many rows every model has, but the keys."""
    models = set(apps.get_models()) - {IdempotencyKey}
    return {model.__name__: model._default_manager.count() for model in models}


def test_the_table_has_every_post_of_the_shop():
    posts = {str(route.pattern) for route in API if hasattr(route.callback.view_class, "post")}
    assert posts - NO_KEYS - REQUIRED == BODIES.keys()


def test_a_repeat_of_every_post_has_no_effect_and_the_recorded_answer(db, settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    world = make_world()
    for route in BODIES:
        invalid = call(world, route, "k" * 256)
        assert invalid.json()["code"] == "idempotency_key_invalid", route
        first = call(world, route, route)
        assert first.status_code < 300 and "Idempotency-Replayed" not in first, (route, first.content)
        before = rows()
        again = call(world, route, f'"{route}"')
        other = call(world, "products" if route != "products" else "campaigns", route)

        without_secret = {"secret": None} if "secret" in first.json() else {}
        assert again.json() == first.json() | without_secret, route
        assert (again.status_code, again["Idempotency-Replayed"]) == (first.status_code, "true"), route
        assert again.get("Location") == first.get("Location"), route
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused"), route
        assert rows() == before, route
        if without_secret:
            assert not IdempotencyKey.objects.filter(body__contains=first.json()["secret"]).exists()


def test_two_keys_are_none_in_both_lanes_and_one_with_a_comma_is_one(transactional_db):
    access = token_pairs.create_access_token(SuperuserFactory())

    def code_of(path, *keys):
        headers = dict(zip(("Idempotency-Key", "idempotency-key")[: len(keys)], keys, strict=True))
        answer = send_request_blocking("POST", f"/api/v1{path}", {}, access=access, headers=headers)
        return answer.json()["code"]

    for path in ("/coupons", "/products", "/orders", "/wallet/grants"):
        for keys in (("one", "one"), ("one", "two"), ("", "one")):
            assert code_of(path, *keys) == "idempotency_key_invalid"
        assert code_of(path, "one,two") == "invalid"


@pytest.mark.parametrize("strategy", sorted(STRATEGIES.keys() - {"unsafe"}))
def test_a_coupon_of_every_strategy_is_replayed_as_it_was_issued_and_counts_once(
    transactional_db, strategy, settings
):
    settings.RATE_COUPONS = Rate(1, 3_600)
    body = {"campaign": campaign_with_strategy(strategy).pk}
    another = {"campaign": CampaignFactory().pk}
    api = new_customer()

    first, *repeats = [api.post("/coupons", body, key="key") for _ in range(3)]

    assert first.status_code == (202 if strategy == "queue" else 201)
    for again in repeats:
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert (again["Location"], again["Idempotency-Replayed"]) == (first["Location"], "true")
    assert api.post("/coupons", another, key="other").status_code == 429
    assert api.post("/coupons", another, key="key").status_code == 422


def test_a_queue_ticket_is_replayed_as_it_stands_now(transactional_db):
    campaign, api = CampaignFactory(strategy="queue"), new_customer()
    ask = partial(api.post, "/coupons", {"campaign": campaign.pk}, key="key")
    first = ask()

    worker.serve_once()

    again = ask()
    assert (again.status_code, again["Location"]) == (202, first["Location"])
    assert (again.json()["status"], again.json()["coupon"]["code"]) == ("issued", Coupon.objects.get().code)
    assert again["Idempotency-Replayed"] == "true" and "Retry-After" not in again


@pytest.mark.parametrize("is_down", [False, True], ids=["redis up", "redis down"])
def test_calls_that_race_with_one_key_have_one_effect_and_one_answer(transactional_db, own_redis, is_down):
    if is_down:
        own_redis.stop()
    api, campaign = new_superuser(), CampaignFactory()
    calls = {
        "/products": BODIES["products"],
        "/coupons": {"campaign": campaign.pk},
        f"/campaigns/{campaign_with_codes('pool').pk}/codes": {"count": 7},
    }
    for path, body in calls.items():
        answers = race([partial(api.post, path, body, key=path)] * 6)
        assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
        assert [answer.get("Idempotency-Replayed") for answer in answers].count(None) == 1, path
    assert (Product.objects.count(), Coupon.objects.count(), PoolCode.objects.count()) == (1, 1, 57)


def test_codes_of_a_call_that_died_half_way_are_made_once(db):
    staff, campaign = SuperuserFactory(), campaign_with_codes("pool", codes=1)
    address = f"/api/v1/campaigns/{campaign.pk}/codes"
    fields = {b"content-type": b"application/json", b"idempotency-key": b"key"}
    died = BurstRequest("POST", address, fields, b'{"count":1500}')
    died.user = Account(id=staff.pk, is_staff=True)
    pool.generate(campaign_id=campaign.pk, count=pool.CHUNK, keyed=keyed_calls.parts_of(died))

    first, again = (client_of(staff).post(address, {"count": 1_500}, key="key") for _ in range(2))

    assert first.json() == {"added": 500, "skipped": [], "total": 1_501}
    assert (again.content, again["Idempotency-Replayed"]) == (first.content, "true")
    assert PoolCode.objects.count() == 1_501


def test_a_key_belongs_to_the_account_that_is_acted_for_or_to_the_keys_maker(db):
    maker, buyer = SuperuserFactory(), AccountFactory()
    acting = api_keys.client_with("act", "coupons:write", maker=maker, account=buyer)
    alone = api_keys.client_with("products:write", maker=maker)
    coupon = {"campaign": CampaignFactory().pk}

    for program, owner, path, body in (
        (acting, buyer, "/coupons", coupon),
        (alone, maker, "/products", BODIES["products"]),
    ):
        first, again = (api.post(path, body, key="key") for api in (program, client_of(owner)))
        assert (again.content, again["Idempotency-Replayed"]) == (first.content, "true")


def test_a_refused_call_records_nothing_nor_does_signing_out(db):
    staff = SuperuserFactory()
    for path, body, status in (
        ("/coupons", {"campaign": CampaignFactory(scheduled=True).pk}, 409),
        ("/products", {"sku": "NEW"}, 400),
        ("/products/987654321/pause", WHY, 404),
        ("/auth/logout", {"refresh": token_pairs.create_token_pair(staff).refresh}, 204),
    ):
        assert client_of(staff).post(path, body, key="key").status_code == status
    assert not IdempotencyKey.objects.exists()
    assert client_of(staff).post("/products", BODIES["products"], key="key").status_code == 201
