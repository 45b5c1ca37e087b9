"""How many cards an API key may try, whichever accounts it acts for."""

from functools import partial

import pytest
from django.contrib.auth.models import User

from accounts.tests.api_keys import KeyApi, make
from accounts.tests.clients import client_of
from foundation.rates.rate import Rate
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import race
from orders.models import Saga
from orders.tests import buying, stepping
from orders.tests.buying import order_of
from orders.tests.test_rates_api import assert_throttled
from payments.models import Payment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _four_declines_of_a_key(settings):
    settings.RATE_ORDERS = settings.RATE_PAYMENTS = settings.RATE_TOP_UPS = settings.RATE_API_KEYS = None
    settings.RATE_DECLINES = Rate(3, 60)
    settings.RATE_DECLINES_PER_KEY = Rate(4, 60)


@pytest.fixture
def secret():
    return make("orders:write", "payments:write", "wallet:write", "act").secret


def order(secret: str, account: User, product, token: str, key: str):
    return KeyApi(secret, account=account).post("/orders", order_of(product, token), key=key)


def top_up(secret: str, account: User, token: str, key: str):
    body = {"amount": 100, "token": token}
    return KeyApi(secret, account=account).post("/wallet/top-ups", body, key=key, Prefer="wait=0")


def settle():
    for saga in Saga.objects.filter(ended_at=None):
        stepping.advance(saga.id)


def test_a_key_that_tries_cards_for_account_after_account_is_refused_and_locks_no_further_account_out(
    product, secret
):
    """Each account has its own window, so the key could try as many cards again for the next one."""
    accounts = AccountFactory.create_batch(5)
    for n, account in enumerate(accounts[:2]):
        assert order(secret, account, product, "tok_declined", f"order {n}").status_code == 202
        assert top_up(secret, account, "tok_declined", f"top-up {n}").status_code == 202
        settle()
    waiting = buying.order(accounts[2], product)

    def pay():
        body = {"order": str(waiting.id), "token": "tok_ok"}
        return KeyApi(secret, account=accounts[2]).post("/payments", body, key="pay")

    assert_throttled(order(secret, accounts[2], product, "tok_ok", "third"))
    assert_throttled(top_up(secret, accounts[2], "tok_ok", "third top-up"))
    assert_throttled(pay())
    assert Payment.objects.count() == 4
    assert order(secret, accounts[0], product, "tok_declined", "order 0").status_code == 402, "a repeat"
    assert order(secret, accounts[3], product, "", "later").status_code == 201, "to pay later"
    own = client_of(accounts[2]).post("/orders", order_of(product, "tok_ok"), key="own")
    assert own.status_code == 202, "its owner is not the key"
    other = make("orders:write", "act").secret
    assert order(other, accounts[4], product, "tok_ok", "other").status_code == 202, "each key has a window"


def test_the_key_s_limit_is_checked_before_the_account_s(settings, product, secret):
    settings.RATE_DECLINES = Rate(4, 70)
    account = buying.account()
    for n in range(4):
        order(secret, account, product, "tok_declined", f"{n}")
        settle()

    refused = order(secret, account, product, "tok_ok", "a")

    assert_throttled(refused)
    assert "at most 4 in 60" in refused.json()["detail"]


def test_declines_of_the_account_s_own_calls_are_not_the_key_s(product, secret):
    buyer = buying.account()
    for key in ("a", "b", "c"):
        client_of(buyer).post("/orders", order_of(product, "tok_declined"), key=key)
        settle()
    account = buying.account()
    for key in ("d", "e", "f"):
        assert order(secret, account, product, "tok_declined", key).status_code == 202
        settle()
    assert order(secret, buying.account(), product, "tok_ok", "g").status_code == 202


def test_of_forty_payments_at_once_for_as_many_accounts_no_more_start_than_may_be_declined(product, secret):
    accounts = AccountFactory.create_batch(40)

    declined = [partial(order, secret, account, product, "tok_declined") for account in accounts]
    answers = race([partial(call, f"{number}") for number, call in enumerate(declined)])
    started = [one for one in answers if one.status_code == 202]
    for answer in answers:
        if answer not in started:
            assert_throttled(answer)
    assert 0 < len(started) <= 4
    assert Payment.objects.count() == len(started)


def test_payments_that_were_tried_make_room_and_those_in_doubt_or_waiting_for_customers_take_none(
    product, secret
):
    for round, token in enumerate(("tok_ok", "tok_error", "tok_3ds")):
        for n in range(4):
            account = buying.account()
            assert order(secret, account, product, token, f"{round} {n}").status_code == 202
        assert_throttled(order(secret, buying.account(), product, "tok_ok", f"{round}"))
        settle()
    assert order(secret, buying.account(), product, "tok_ok", "in the end").status_code == 202


def test_a_call_that_starts_no_payment_counts_for_nothing(product, secret):
    for n in range(6):
        body = {"order": "00000000-0000-7000-8000-000000000000", "token": "tok_ok"}
        answer = KeyApi(secret, account=buying.account()).post("/payments", body, key=f"{n}")
        assert answer.status_code == 404
    for n in range(4):
        assert order(secret, buying.account(), product, "tok_ok", f"order {n}").status_code == 202


def test_without_a_rate_nothing_is_refused(settings, product, secret):
    settings.RATE_DECLINES_PER_KEY = None
    for n in range(6):
        assert order(secret, buying.account(), product, "tok_declined", f"{n}").status_code == 202
        settle()
