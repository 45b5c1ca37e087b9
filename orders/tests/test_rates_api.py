"""Rate limits of an account over HTTP: which calls are refused, and which are not counted."""

import asyncio
import re
import threading
from collections import Counter
from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.tests import api_keys
from accounts.tests.clients import client_of, new_customer, problem_of
from accounts.tokens import token_pairs
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.db import bulk_sql
from foundation.errors import Throttled
from foundation.rates import rate_limits
from foundation.rates.rate import Rate
from foundation.tests import asgi_client, servers
from foundation.tests.factories import SuperuserFactory
from foundation.tests.racing import race, race_each
from orders.limits import Payer
from orders.models import Order, Saga
from orders.payment import charging, rows as declined_rows
from orders.tests import buying, stepping
from orders.tests.buying import order_of
from payments.gateways import gateway
from payments.models import Payment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _three_a_minute(settings):
    for name in ("RATE_COUPONS", "RATE_ORDERS", "RATE_PAYMENTS", "RATE_TOP_UPS", "RATE_DECLINES"):
        setattr(settings, name, Rate(3, 60))


def assert_throttled(answer, *, seconds=60):
    assert problem_of(answer) == (429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= seconds


def _coupon(api, product, key):
    return api.post("/coupons", {"campaign": CampaignFactory().id})


def _order(api, product, key):
    return api.post("/orders", order_of(product), key=key)


def _payment(api, product, key):
    return api.post("/payments", {"order": str(Order.objects.latest("id").id), "token": "tok_ok"}, key=key)


def _top_up(api, product, key):
    return api.post("/wallet/top-ups", {"amount": 100, "token": "tok_ok"}, key=key, Prefer="wait=0")


@pytest.mark.parametrize("call", [_coupon, _order, _payment, _top_up])
def test_the_fourth_call_in_a_minute_is_throttled_and_other_accounts_and_staff_are_not(call, product):
    buyer, staff = buying.account(), SuperuserFactory()
    buying.place(buyer, product)
    for key in ("a", "b", "c"):
        assert call(client_of(buyer), product, key).status_code in (201, 202, 409)
    assert_throttled(call(client_of(buyer), product, "d"))
    assert call(new_customer(), product, "d").status_code in (201, 202, 404)
    buying.place(staff, product)
    assert {call(client_of(staff), product, key).status_code for key in "abcdef"} <= {201, 202, 409}


def told(answer, name: str) -> tuple[int, int]:
    """The calls that are left, and the seconds, as the answer says."""
    assert answer["RateLimit-Policy"] == f'"{name}";q=3;w=60'
    found = re.fullmatch(rf'"{name}";r=(\d+);t=(\d+)', answer["RateLimit"])
    assert found
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(
    ("call", "name"), [(_coupon, "coupons"), (_order, "orders"), (_payment, "payments"), (_top_up, "top-ups")]
)
def test_answers_of_limited_calls_tell_the_limit_and_replays_and_staff_are_told_none(
    call, name, product, monkeypatch
):
    now = clock.seconds()
    # Else a second may end between the two fields of an answer.
    monkeypatch.setattr(clock, "seconds", lambda: now)
    buyer, staff = buying.account(), SuperuserFactory()
    buying.place(buyer, product)
    firsts = [call(client_of(buyer), product, key) for key in ("a", "b", "c")]
    refused = call(client_of(buyer), product, "d")

    assert [told(answer, name)[0] for answer in firsts] == [2, 1, 0]
    assert all(1 <= told(answer, name)[1] <= 60 for answer in firsts)
    assert_throttled(refused)
    assert told(refused, name) == (0, int(refused["Retry-After"]))
    if call is not _coupon:
        replayed = call(client_of(buyer), product, "a")
        assert replayed["Idempotency-Replayed"] == "true" and "RateLimit" not in replayed
    for free in (
        call(client_of(staff), product, "a"),
        client_of(buyer).get("/orders"),
        client_of().get("/orders"),
    ):
        assert "RateLimit" not in free and "RateLimit-Policy" not in free


@pytest.mark.parametrize("call", [_order, _payment, _top_up])
def test_repeats_never_count_and_are_answered_when_the_account_is_throttled(call, product, settings):
    buyer = buying.account()
    if call is _payment:
        buying.place(buyer, product)
    api = client_of(buyer)
    first = call(api, product, "a")
    for _ in range(5):
        assert call(api, product, "a")["Idempotency-Replayed"] == "true"
    for key in ("b", "c"):
        assert call(api, product, key).status_code != 429
    assert_throttled(call(api, product, "d"))
    again = call(api, product, "a")
    assert (again.status_code, again["Idempotency-Replayed"]) == (first.status_code, "true")
    if call is _order:
        assert Order.objects.count() == 3
        settings.RATE_ORDERS = None
        assert call(api, product, "d").status_code == 201, "it is not recorded under its key"


@pytest.mark.parametrize("path", ["/orders", "/payments", "/wallet/top-ups"])
def test_of_forty_repeats_at_once_none_counts_and_none_is_throttled(path, product):
    buyer = buying.account()
    waiting = buying.order(buyer, product)
    body = {
        "/orders": order_of(product, "tok_ok"),
        "/payments": {"order": str(waiting.id), "token": "tok_ok"},
        "/wallet/top-ups": {"amount": 100, "token": "tok_ok"},
    }[path]
    headers = {"Idempotency-Key": "the same", "Prefer": "wait=0"}

    async def repeat():
        as_buyer = {"access": token_pairs.create_access_token(buyer), "headers": headers}
        call = partial(asgi_client.send_request, "POST", f"/api/v1{path}", body, **as_buyer)
        return await asyncio.gather(*[call() for _ in range(40)])

    answers = asyncio.run(repeat())

    assert {answer.status for answer in answers} == {202}
    assert Payment.objects.count() == 1
    limit = {"/orders": rate_limits.ORDERS, "/payments": rate_limits.PAYMENTS}.get(path, rate_limits.TOP_UPS)
    assert limit.read_usage(buyer.id).used == 1


def decline(api, product, key: str):
    """Place an order whose card is declined."""
    answer = api.post("/orders", order_of(product, "tok_declined"), key=key)
    stepping.advance(Saga.objects.latest("created_at").id)
    return answer


def test_after_three_declines_nothing_is_placed_and_the_gateway_is_not_called(settings, product):
    settings.RATE_ORDERS = None
    buyer = buying.account()
    api, waiting = client_of(buyer), buying.order(buyer, product)
    for key in ("a", "b", "c"):
        assert decline(api, product, key).status_code == 202
    asked = len(list(gateway().charges()))
    for answer in (
        api.post("/orders", order_of(product, "tok_ok"), key="d"),
        api.post("/payments", {"order": str(waiting.id), "token": "tok_ok"}, key="e"),
        api.post("/wallet/top-ups", {"amount": 100, "token": "tok_ok"}, key="f"),
    ):
        assert_throttled(answer)
    assert (Order.objects.count(), Payment.objects.count()) == (4, 3)
    assert len(list(gateway().charges())) == asked
    assert api.post("/orders", order_of(product), key="g").status_code == 201, "to pay later"
    assert api.post("/orders", order_of(product, "tok_declined"), key="a").status_code == 402, "a repeat"
    other = new_customer()
    assert other.post("/orders", order_of(product, "tok_ok"), key="d").status_code == 202


def test_of_sixty_payments_at_once_no_more_start_than_may_be_declined(settings, product):
    settings.RATE_ORDERS = settings.RATE_TOP_UPS = None
    settings.RATE_DECLINES = Rate(10, 600)
    buyer = buying.account()

    def order(key):
        return client_of(buyer).post("/orders", order_of(product, "tok_declined"), key=key)

    def top_up(key):
        body = {"amount": 100, "token": "tok_declined"}
        return client_of(buyer).post("/wallet/top-ups", body, key=key, Prefer="wait=0")

    answers = race([partial(call, f"{call.__name__} {n}") for call in (order, top_up) for n in range(30)])
    started = [one for one in answers if one.status_code == 202]
    for answer in answers:
        if answer not in started:
            assert_throttled(answer, seconds=600)
    assert 0 < len(started) <= 10
    assert Payment.objects.count() == len(started)
    # Sequentially, so that none counts twice.
    for n in range(10 - len(started)):
        assert order(f"later {n}").status_code == 202
    assert_throttled(order("eleventh"), seconds=600)
    assert_throttled(top_up("eleventh top-up"), seconds=600)
    for saga in Saga.objects.filter(ended_at=None):
        stepping.advance(saga.id)
    assert_throttled(order("after the declines"), seconds=600)
    assert Payment.objects.filter(status="failed").count() == 10


def test_payments_that_succeed_make_room_and_those_long_overdue_take_none(settings, product):
    settings.RATE_ORDERS = None
    api = new_customer()
    for round in range(2):
        for n in range(3):
            answer = api.post("/orders", order_of(product, "tok_ok"), key=f"{round} {n}")
            assert answer.status_code == 202
        assert_throttled(api.post("/orders", order_of(product, "tok_ok"), key="too many"))
        if round == 0:
            buying.settle_everything()
    Payment.objects.filter(status="pending").update(created_at="2020-01-01T00:00:00Z")
    assert api.post("/orders", order_of(product, "tok_ok"), key="in the end").status_code == 202


def start_top_up(payer):
    """In a transaction of its own, as in another process."""
    return buying.start_top_up(payer.account_id, payer=payer)


def payers(number: int, *, by_one_key: bool) -> list[Payer]:
    """Those of an account, or of as many accounts by one API key."""
    if not by_one_key:
        return [Payer(buying.account().id)] * number
    key_id = api_keys.make("wallet:write", "act").key.pk
    return [Payer(buying.account().id, key_id) for _ in range(number)]


@pytest.mark.parametrize("by_one_key", [False, True])
def test_of_payments_that_start_at_once_in_several_transactions_no_more_start_than_may_be_declined(
    settings, by_one_key
):
    settings.RATE_DECLINES_PER_KEY = Rate(3, 60)
    outcomes = race_each(start_top_up, payers(12, by_one_key=by_one_key))
    assert Counter(type(outcome) for outcome in outcomes) == {charging.StartedPayment: 3, Throttled: 9}
    assert Payment.objects.count() == 3


@pytest.mark.parametrize("by_one_key", [False, True])
def test_counting_them_without_the_locks_lets_all_start(settings, monkeypatch, by_one_key):
    """The naive twin: each counts before another has committed."""
    settings.RATE_DECLINES_PER_KEY = Rate(3, 60)
    all_counted, check = threading.Barrier(6, timeout=10), charging.check_card_limits

    def check_later(counts, payer):
        all_counted.wait()
        check(counts, payer)

    monkeypatch.setattr(bulk_sql, "for_update", lambda **_: "")
    monkeypatch.setattr(charging, "check_card_limits", check_later)
    race_each(start_top_up, payers(6, by_one_key=by_one_key))
    assert Payment.objects.count() == 6


def test_declines_are_counted_while_redis_is_away(settings, product, own_redis):
    settings.RATE_ORDERS = None
    api = new_customer()
    for key in ("a", "b", "c"):
        assert decline(api, product, key).status_code == 202
    own_redis.stop()
    assert_throttled(api.post("/orders", order_of(product, "tok_ok"), key="d"))


def test_what_counts_is_found_by_an_index(settings, product):
    settings.RATE_ORDERS = None
    payer = Payer(buying.account().id, api_keys.make("wallet:write", "act").key.pk)
    start_top_up(payer)
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        counts = declined_rows.lock_and_count_declines([payer])
    assert [*counts.values()] == [1, 1]
    selects = [query["sql"] for query in queries if "FROM payments_payment" in query["sql"]]
    used = [servers.explain(select)[0]["possible_keys"] for select in selects]
    assert "payments_payment_of_account" in used[0]
    assert "payments_payment_of_api_key" in used[1]


def test_declined_top_ups_count_and_cards_without_an_answer_do_not(settings, product):
    api = new_customer()
    settings.PAYMENT_GIVE_UP_SECONDS = 1
    for key, token in (("a", "tok_declined"), ("b", "tok_insufficient_funds")):
        answer = api.post("/wallet/top-ups", {"amount": 100, "token": token}, key=key, Prefer="wait=0")
        assert answer.status_code == 202
        stepping.advance(Saga.objects.latest("created_at").id)
    api.post("/orders", order_of(product, "tok_error"), key="c")
    Saga.objects.filter(ended_at=None).update(deadline_at="2020-01-01T00:00:00Z")
    buying.settle_everything()
    assert Order.objects.get().status == "payment_failed"
    assert decline(api, product, "d").status_code == 202
    assert_throttled(api.post("/orders", order_of(product, "tok_ok"), key="e"))
