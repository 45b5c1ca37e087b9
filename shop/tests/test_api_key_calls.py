"""Calls by API keys: scopes by the URL table, the maker's rights, acting for accounts, and what they cost."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.api_keys import key_memory, keys
from accounts.models import ApiKey
from accounts.tests.api_keys import KeyApi, client_with, codes, make
from accounts.tests.clients import Api, client_of, new_customer, problem_of
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from foundation import clock, scopes
from foundation.models import IdempotencyKey, JournalLine
from foundation.rates.rate import Rate
from foundation.tests import process_state, reference_tables
from foundation.tests.asgi_client import send_request
from foundation.tests.factories import AccountFactory, SuperuserFactory, set_columns, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.outages import database_away
from foundation.tests.second_process import another_process, read_line, starts_another_process
from inventory.models import StockMovement
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from shop.tests.test_access_matrix import calls, concrete, owners

__all__ = ["owners"]
NULL_CALL = ("/lab/null", {"campaign": 1})
HEADING = "Who may make which call"
ABOUT_AN_ACCOUNT = {
    *("GET /wallet", "GET /wallet/entries", "POST /orders", "POST /payments", "POST /wallet/top-ups"),
    "POST /sales/{sale_id}/entries",
}
"""The calls that a key makes for an account alone."""


pytestmark = [pytest.mark.django_db, pytest.mark.urls("lab.urls")]
"""The null call needs an account and nothing else."""


def order_of(product) -> dict[str, Any]:
    return {"items": [{"product": product.pk, "quantity": 1}]}


@pytest.mark.usefixtures("_a_row_of_every_model")
class TestScopesOfTheUrlTable:
    def test_every_call_has_the_scope_that_the_table_says(self):
        actual = {name: _scope(route, method) or "-" for name, method, route in calls()}

        wrong = reference_tables.differences(HEADING, "scope of a key", actual, page=reference_tables.ACCESS)

        assert not wrong, wrong

    def test_with_all_scopes_but_its_own_no_call_is_made(self, owners):
        """Where none is its own, no key makes the call: it makes no keys, and signs nobody in."""
        maker = SuperuserFactory()
        keys_before, accounts_before = ApiKey.objects.count(), User.objects.count()
        for name, method, route in calls():
            scope = _scope(route, method)
            path, _ = concrete(name, owners)
            first, *_ = scope.split() or [""]
            others = [one for one in scopes.ALL if one != first]
            ApiKey.objects.all().update(revoked_at=clock.now())
            key_memory.CACHED.forget()

            api = client_with(*others, maker=maker)
            refused = call(api, method, path)

            assert refused.status_code == 403, name
            if method == "get":
                assert call(api, "head", path).status_code == 403, name
            if scope:
                assert (refused.json()["code"], refused.json()["scope"]) == ("scope_missing", first), name
            else:
                assert refused.json()["code"] == "permission_denied", name
        assert ApiKey.objects.count() == keys_before + len([*calls()]), "those of this test"
        assert User.objects.count() == accounts_before

    def test_with_its_scope_alone_no_call_lacks_one(self, owners):
        maker = SuperuserFactory()
        by_scope = {
            scope: client_with(*scope.split(), maker=maker)
            for scope in {_scope(route, method) for _name, method, route in calls()} - {""}
        }
        needing_an_account = set()
        for name, method, route in calls():
            scope = _scope(route, method)
            if scope:
                path, _ = concrete(name, owners)

                answer = call(by_scope[scope], method, path)

                assert answer.status_code < 500, (name, answer.content)
                assert not (
                    answer.status_code in (401, 403)
                    or (answer.status_code == 429 and answer.json()["code"] == "throttled")
                ), (name, answer.content)
                if answer.status_code == 400 and answer.json()["code"] == "account_required":
                    needing_an_account.add(name)

        assert needing_an_account == ABOUT_AN_ACCOUNT


def _scope(route, method):
    view = route.callback.view_class
    assert view.resource is not None, f"{route.pattern}: say `resource = Resource.…`"
    return view.required_scopes(method.upper())


def call(api, method: str, path: str):
    return api._call(method.upper(), path, None if method == "get" else {}, f"{method} {path}", {})


class TestKeysAlone:
    """A key that acts for no account has the rights of its maker."""

    def test_it_does_and_sees_what_its_maker_may(self):
        rights = ["accounts.add_apikey", "inventory.add_product", "coupons.view_coupon"]
        maker = staff_member(*rights)
        api = client_with("products:write", "campaigns:write", "coupons:read", maker=maker)
        coupon = buying.coupon_of(AccountFactory())

        made = api.post("/products", {"sku": "A", "name": "A", "price": 1, "is_active": True})
        refused = api.post("/campaigns", {})
        [listed] = api.rows("/coupons")

        assert (made.status_code, refused.status_code) == (201, 403)
        assert refused.json()["code"] == "permission_denied"
        assert listed["code"] == coupon.code, "of another account"

    @pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}, {"is_superuser": False}])
    def test_what_its_maker_loses_it_loses(self, change):
        maker = SuperuserFactory()
        api, product = client_with("products:read", maker=maker), ProductFactory()
        assert api.get(f"/products/{product.pk}/stock").status_code == 200

        set_columns(maker, **change)
        process_state.age(key_memory.CACHED, key_memory.REFRESH_AFTER_SECONDS)

        refused = api.get(f"/products/{product.pk}/stock")
        assert refused.status_code == (403 if "is_superuser" in change else 401)

    def test_it_has_no_rows_of_its_own(self):
        """Its maker is staff without rights to see other accounts' rows, and buys nothing by a key."""
        maker = staff_member()
        api = client_with(*scopes.ALL[:-1], maker=maker)
        product, campaign = ProductFactory(on_hand=5), CampaignFactory()

        answers = [
            api.post("/orders", order_of(product), key="one"),
            api.post("/coupons", {"campaign": campaign.pk}),
            api.get("/orders"),
            api.get("/coupons"),
            api.get("/payments"),
            api.get("/wallet"),
            api.get("/wallet/entries"),
            api.post("/wallet/top-ups", {"amount": 1, "token": "tok_ok"}, key="two"),
        ]

        assert [answer.status_code for answer in answers] == [400] * 8
        assert set(codes(answers)) == {"account_required"}
        assert not Order.objects.exists() and not Coupon.objects.exists()

    def test_the_idempotency_key_belongs_to_its_maker_and_the_journal_has_its_number(self):
        maker, product = SuperuserFactory(), ProductFactory(on_hand=0)
        path, body = f"/products/{product.pk}/stock-adjustments", {"delta": 5, "reason": "delivered"}
        new = make("products:write", maker=maker)

        first = KeyApi(new.secret).post(path, body, key="delivery")
        by_token = client_of(maker).post(path, body, key="delivery")

        answers = (first.status_code, by_token.status_code, by_token.headers["Idempotency-Replayed"])
        assert answers == (201, 201, "true")
        assert StockMovement.objects.get().delta == 5
        assert IdempotencyKey.objects.get().account_id == maker.pk
        KeyApi(new.secret).post(f"/products/{product.pk}/pause", {"reason": "A recall."})
        line = journal_line("product.paused")
        assert (line.actor, line.actor_id) == ("staff", maker.pk)
        assert line.actor_name == f"API key {new.key.pk}"


class TestActing:
    def test_it_buys_for_the_account_whose_the_idempotency_key_is_and_the_journal_has_both(self):
        new, ada = make("orders:write", "orders:read", "act"), AccountFactory()
        product = ProductFactory(on_hand=5)
        api = KeyApi(new.secret, account=ada)

        assert api.post("/orders", order_of(product), key="one").status_code == 201
        order = Order.objects.get()
        assert order.account_id == ada.pk
        lines = JournalLine.objects.filter(order_id=order.pk)
        assert {(line.actor, line.actor_id, line.actor_name) for line in lines} == {
            ("account", ada.pk, f"API key {new.key.pk}")
        }
        assert api.get(f"/orders/{order.pk}").status_code == 200
        replayed = client_of(ada).post("/orders", order_of(product), key="one")

        assert (replayed.status_code, replayed.headers["Idempotency-Replayed"]) == (201, "true")
        assert IdempotencyKey.objects.get().account_id == ada.pk
        assert Order.objects.count() == 1

    def test_it_has_no_rights_of_staff_even_for_a_superuser(self):
        superuser, product = SuperuserFactory(), ProductFactory()
        coupon = buying.coupon_of(AccountFactory())
        api = client_with(*scopes.ALL, account=superuser)

        assert api.get(f"/products/{product.pk}/stock").status_code == 403
        assert api.post("/products", {}).status_code == 403
        assert api.get(f"/coupons/{coupon.code}").status_code == 404
        assert api.rows("/coupons") == []
        assert api.post("/wallet/grants", {}, key="one").status_code == 403

    def test_it_needs_the_scope_and_its_maker_the_right_now(self):
        refused = client_with("coupons:read", account=AccountFactory()).get("/coupons")
        assert problem_of(refused) == (403, "scope_missing")
        assert refused.json()["scope"] == "act"
        maker = staff_member(keys.ACT_FOR_ACCOUNTS)
        api = client_with("coupons:read", "act", maker=maker, account=AccountFactory())
        assert api.get("/coupons").status_code == 200

        maker.user_permissions.clear()
        process_state.age(key_memory.CACHED, key_memory.REFRESH_AFTER_SECONDS)

        refused = api.get("/coupons")
        assert problem_of(refused) == (403, "account_refused")

    def test_an_account_that_is_unknown_or_disabled_is_refused(self):
        disabled = AccountFactory(is_active=False)
        new = make("coupons:read", "act")

        answers = [KeyApi(new.secret, account=each).get("/coupons") for each in (disabled, 10**18, 0)]

        assert [answer.status_code for answer in answers] == [403, 403, 403]
        assert set(codes(answers)) == {"account_refused"}

    @pytest.mark.parametrize("named", ["", "ada", "-1", "1.0", "1 2", "9" * 20])
    def test_what_is_no_number_is_refused(self, named):
        refused = client_with("coupons:read", "act", account=named).get("/coupons")

        assert problem_of(refused) == (400, "invalid")
        assert refused.json()["errors"][0]["field"] == "Firstcome-Account"

    def test_the_accounts_own_limits_count(self, settings):
        settings.RATE_COUPONS = Rate(2, 60)
        api = client_with("coupons:write", "act", account=AccountFactory())

        assert [api.post(*NULL_CALL).status_code for _ in range(3)] == [200, 200, 429]

    def test_a_token_ignores_the_header(self):
        ada, eve = AccountFactory(), AccountFactory()

        own = client_of(ada).get("/users/me", **{"Firstcome-Account": str(eve.pk)})

        assert own.json()["id"] == ada.pk


class TestRefusals:
    @pytest.mark.parametrize(
        "change",
        [
            lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
            lambda secret: secret[:14],
            lambda secret: secret + "A",
            lambda secret: "fc_key_" + "x" * (len(secret) - 7),
            lambda secret: "fc_key_",
            lambda secret: secret[:14] + "é" * 40,
        ],
    )
    def test_another_secret_is_401(self, change):
        secret = make("coupons:read", "products:read").secret
        wrong = Api(access=change(secret).encode().decode("latin-1"))

        for path in ("/coupons", "/products"):
            refused = wrong.get(path)
            assert problem_of(refused) == (401, "token_invalid")
            assert refused.headers["WWW-Authenticate"] == "Bearer"

    def test_a_key_that_calls_too_often_is_429(self, settings):
        settings.RATE_API_KEYS = Rate(3, 60)
        first, second = client_with("products:read"), client_with("products:read")

        answers = [first.get("/products") for _ in range(4)]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].json()["code"] == "throttled" and int(answers[-1].headers["Retry-After"]) > 0
        assert second.get("/products").status_code == 200, "each key has a window of its own"


class TestCost:
    @pytest.mark.parametrize("is_acting", [False, True])
    def test_a_hot_call_by_a_key_costs_no_query(self, is_acting):
        """By a key alone the null call needs no account, for its maker is staff."""
        ada = AccountFactory()
        api = client_with("coupons:write", "act", account=ada if is_acting else None)
        assert api.post(*NULL_CALL).status_code == 200

        with CaptureQueriesContext(connection) as queries:
            assert api.post(*NULL_CALL).status_code == 200

        assert queries.captured_queries == []

    def test_a_new_key_and_a_new_secret_are_good_at_once(self):
        maker = SuperuserFactory()
        for _ in range(3):
            new = make("coupons:write", maker=maker)
            assert KeyApi(new.secret).post(*NULL_CALL).status_code == 200
        rotated = keys.rotate(key_id=new.key.pk, account_id=maker.pk)
        assert KeyApi(rotated.secret).post(*NULL_CALL).status_code == 200

    def test_unknown_secrets_have_the_keys_read_ten_times_a_second_at_most(self, monkeypatch):
        reads = []
        monkeypatch.setattr(key_memory.CACHED, "_read", lambda: reads.append(time.monotonic()) or {})
        unknown = KeyApi(f"{keys.START}{'x' * 43}")

        statuses = {unknown.post(*NULL_CALL).status_code for _ in range(6)}

        assert statuses == {401}
        assert min(later - earlier for earlier, later in pairwise(reads)) >= 0.09

    def test_the_last_use_is_written_once_a_minute(self, monkeypatch):
        new = make("coupons:write")
        api = KeyApi(new.secret)
        api.post(*NULL_CALL)
        first = ApiKey.objects.get().last_used_at
        assert first is not None and clock.now() - first < timedelta(seconds=10)

        api.post(*NULL_CALL)
        assert ApiKey.objects.get().last_used_at == first

        monkeypatch.setattr(key_memory, "LAST_USE_SECONDS", 0.0)
        api.post(*NULL_CALL)
        later = ApiKey.objects.get().last_used_at
        assert later is not None and later > first
        key_memory._write_last_use(new.key.pk, first)
        assert ApiKey.objects.get().last_used_at == later, "an earlier use, of another process, replaces none"


@pytest.mark.django_db(transaction=True)
class TestEventLoop:
    def test_no_call_by_a_key_blocks_the_loop(self, blocked):
        ada = AccountFactory()
        access = make("coupons:write", "act").secret

        async def both(headers: dict[str, str]) -> list[int]:
            path, body = NULL_CALL
            answers = [
                await send_request("POST", f"/api/v1{path}", body, access=access, headers=headers)
                for _ in "12"
            ]
            return [answer.status for answer in answers]

        assert asyncio.run(both({})) == [200, 200]
        assert asyncio.run(both({"Firstcome-Account": str(ada.pk)})) == [200, 200]
        assert asyncio.run(both({"Firstcome-Account": "999999999"})) == [403, 403]
        assert blocked == []


@pytest.mark.django_db(transaction=True)
class TestMemory:
    def test_without_the_database_a_key_is_taken_for_a_second_and_then_503(self):
        api, token = client_with("coupons:write"), new_customer()
        assert (api.post(*NULL_CALL).status_code, token.post(*NULL_CALL).status_code) == (200, 200)

        with database_away():
            assert api.post(*NULL_CALL).status_code == 200
            # An unknown one may be new.
            unknown = KeyApi(f"{keys.START}{'x' * 43}").post(*NULL_CALL)
            process_state.age(key_memory.CACHED, key_memory.MAX_AGE_SECONDS)
            for answer in (unknown, api.post(*NULL_CALL)):
                assert problem_of(answer) == (503, "unavailable")
            assert token.post(*NULL_CALL).status_code == 200, "tokens do not depend on keys"

    @starts_another_process
    def test_another_process_refuses_a_revoked_key_within_a_second(self):
        new = make("coupons:write")
        with another_process(CALLING, new.secret, **OF_TEST_CLIENT) as process:
            assert seconds_until_refused(process, new) < REFUSED_WITHIN_SECONDS

    @starts_another_process
    def test_a_process_that_remembers_longer_takes_it_longer(self):
        """What the race above would find: a memory of two seconds more."""
        new = make("coupons:write")
        with another_process(REMEMBERING_LONGER + CALLING, new.secret, **OF_TEST_CLIENT) as process:
            assert seconds_until_refused(process, new) > REFUSED_WITHIN_SECONDS


# The check of each call comes at most this long after the age that is allowed, on a machine that is busy.
REFUSED_WITHIN_SECONDS = key_memory.MAX_AGE_SECONDS + 0.5
OF_TEST_CLIENT = {
    "ALLOWED_HOSTS": "testserver",
    "DJANGO_SETTINGS_MODULE": "lab.settings",
    "RATE_API_KEYS": "",
}
REMEMBERING_LONGER = """
from accounts.api_keys import key_memory
key_memory.CACHED._seconds = 3.0
key_memory.CACHED._max_age_seconds = 3.0
"""
# Calls by the key without a pause; prints when the key was taken last, by the clock of the host.
CALLING = """
import time
from accounts.api_keys import key_memory
from accounts.tests.clients import Api

api = Api(access=sys.argv[1])
assert api.post("/lab/null", {"campaign": 1}).status_code == 200
print("ready", flush=True)
while True:
    began_at = time.monotonic()
    status = api.post("/lab/null", {"campaign": 1}).status_code
    if status == 401:
        break
    assert status == 200, status
    accepted_at = began_at
print(accepted_at, flush=True)
"""


def seconds_until_refused(process, new: keys.NewSecret) -> float:
    """From the revocation until the last call that the process still accepted."""
    keys.revoke(key_id=new.key.pk)
    revoked_at = time.monotonic()
    return float(read_line(process)) - revoked_at
