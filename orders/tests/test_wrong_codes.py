"""Guesses of coupon codes: limited by account and by network, and told nothing before a campaign opens."""

import threading
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from accounts.tests import api_keys
from accounts.tests.clients import Api, client_of
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.rates import rate_limits
from foundation.rates.rate import Rate
from foundation.rates.rate_limits import RateLimit
from foundation.tests.factories import SuperuserFactory
from foundation.tests.instants import from_now
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import holding_row
from foundation.tests.waiting import in_background
from orders.models import Order
from orders.tests import buying
from orders.tests.waiting import somebody_waits_at_the_stock

pytestmark = pytest.mark.django_db(transaction=True)
CODE = "AUTUMN-2026"


@pytest.fixture(autouse=True)
def _without_other_rates(settings):
    """At the beginning of an hour, in which rates count."""
    settings.RATE_ORDERS = None
    settings.OPEN_ORDERS_PER_ACCOUNT = 100
    with clock.shifted(by=timedelta(seconds=3_600.01 - clock.seconds() % 3_600)):
        yield


def shared_campaign(**terms):
    CampaignFactory(**{"code_source": "shared", "shared_code": CODE} | terms)


def client_from(address: str, account=None) -> Api:
    api = client_of(account or buying.account())
    api._client.defaults["REMOTE_ADDR"] = address
    return api


_keys = iter(range(10_000))


def order(api, product, code=""):
    body = buying.order_of(product, **({"coupon": code} if code else {}))
    return api.post("/orders", body, key=f"wrong-codes-{next(_keys)}")


def results(*answers) -> list[tuple[int, str]]:
    return [(each.status_code, each.json().get("reason", each.json().get("code", ""))) for each in answers]


def test_after_ten_wrong_codes_in_an_hour_an_account_names_no_other(product):
    shared_campaign()
    shared_campaign(shared_code="OVER", closed=True)
    api = client_from("192.0.2.1")
    assert results(*[order(api, product, "OVER") for _ in range(12)]) == [(409, "campaign_closed")] * 12

    guesses = [order(api, product, f"GUESS-{n}") for n in range(10)]
    refused = order(api, product, CODE)

    assert results(*guesses, refused) == [(409, "not_found")] * 10 + [(429, "throttled")]
    assert int(refused["Retry-After"]) in range(3_500, 3_601)
    assert Order.objects.count() == 0
    assert order(api, product).status_code == 201, "an order without a code"
    assert order(client_from("192.0.2.1"), product, CODE).status_code == 201, "another account's"


class OfTwoProcesses:
    """Counts in a process of its own for threads with odd numbers."""

    def __init__(self):
        self._limits = [RateLimit("wrong-codes") for _ in range(2)]

    def __getattr__(self, name):
        return getattr(self._limits[int(threading.current_thread().name[-1]) % 2], name)


def test_of_guesses_at_once_in_two_processes_no_more_are_answered(product, monkeypatch):
    """And codes that are right are refused for none of them."""
    shared_campaign()
    monkeypatch.setattr(rate_limits, "WRONG_CODES", OfTwoProcesses())
    guesser, buyer = client_from("192.0.2.1"), client_from("192.0.2.1")
    named = [(buyer, CODE)] * 24 + [(guesser, f"GUESS-{n}") for n in range(30)]
    answers = Counter(results(*race([partial(order, api, product, code) for api, code in named])))

    assert answers.pop((409, "not_found")) == 10
    assert answers.pop((429, "throttled")) == 20
    assert answers == {(201, ""): 1, (409, "held"): 23}


def test_a_guess_in_progress_has_its_place_and_a_right_code_past_it_is_refused(settings, product):
    settings.RATE_WRONG_CODES = Rate(1, 3_600)
    shared_campaign()
    api = client_from("192.0.2.1")
    with holding_row(product):
        guess = in_background(partial(order, api, product, "GUESS"))
        wait_until(somebody_waits_at_the_stock)
        assert results(order(api, product, CODE)) == [(429, "throttled")]
    assert results(guess.result(30)) == [(409, "not_found")]


@pytest.mark.parametrize(
    ("addresses", "elsewhere"),
    [(("192.0.2.1", "192.0.2.200"), "192.0.3.1"), (("2001:db8::1", "2001:db8::2:3"), "2001:db8:0:1::1")],
)
def test_the_accounts_of_a_network_have_a_limit_together(addresses, elsewhere, settings, product):
    settings.RATE_WRONG_CODES_OF_NETWORK = Rate(4, 3_600)
    shared_campaign()
    guesses = [order(client_from(address), product, f"GUESS-{n}") for n in range(2) for address in addresses]

    assert results(*guesses) == [(409, "not_found")] * 4
    guesser, bystander = client_from(addresses[0]), client_from(addresses[1])
    assert results(order(guesser, product, "GUESS-4")) == [(409, "not_found")], "its first one"
    assert results(order(guesser, product, CODE)) == [(429, "throttled")]
    assert order(bystander, product, CODE).status_code == 201
    assert order(client_from(elsewhere), product, CODE).status_code == 201


@pytest.mark.parametrize("limit", ["RATE_WRONG_CODES", "RATE_WRONG_CODES_OF_NETWORK"])
def test_past_a_limit_codes_of_others_and_unknown_ones_are_refused_alike_and_own_coupons_are_not(
    limit, settings, product
):
    setattr(settings, limit, Rate(3, 3_600))
    shared_campaign()
    shared_campaign(shared_code="WELCOME-BACK")
    buyer = buying.account()
    own, others = buying.coupon_of(buyer), buying.coupon_of(buying.account())
    api = client_from("198.51.100.77", buyer)
    assert order(api, product, "WELCOME-BACK").status_code == 201
    assert results(*[order(api, product, f"MAYBE-{n}") for n in range(3)]) == [(409, "not_found")] * 3

    named = (CODE, others.code, "OF-NOBODY", own.code.lower() + "x")
    refused = [order(api, product, code) for code in named]

    assert {(each.status_code, each.json()["detail"], each.json()["code"]) for each in refused} == {
        (429, refused[0].json()["detail"], "throttled")
    }
    assert {*refused[0].headers} == {*refused[1].headers} == {*refused[2].headers}
    assert order(api, product, own.code).status_code == 201
    assert results(order(api, product, "WELCOME-BACK")) == [(409, "held")], "its coupon, held by the first"


def test_a_code_that_is_named_again_counts_once_for_each_account(settings, product):
    settings.RATE_WRONG_CODES, settings.RATE_WRONG_CODES_OF_NETWORK = Rate(2, 3_600), Rate(4, 3_600)
    apis = [client_from(f"203.0.113.{n}") for n in range(2)]

    for api in apis:
        assert results(*[order(api, product, "SPRlNG-2O26") for _ in range(9)]) == [(409, "not_found")] * 9
        assert results(order(api, product, "SPRING-2O26")) == [(409, "not_found")]
        assert results(order(api, product, "SPRING-2026")) == [(429, "throttled")]
    late = client_from("203.0.113.9")
    assert results(order(late, product, "A"), order(late, product, "B")) == [
        (409, "not_found"),
        (429, "throttled"),
    ]


def test_codes_that_open_within_a_day_are_no_guesses(settings, product):
    settings.RATE_WRONG_CODES = settings.RATE_WRONG_CODES_OF_NETWORK = Rate(1, 3_600)
    shared_campaign(opens_at=from_now(hours=23, minutes=50))
    crowd = [client_from(f"192.0.2.{n}") for n in range(4)]

    for api in crowd * 2:
        assert results(order(api, product, CODE)) == [(409, "not_found")]
    assert results(order(crowd[0], product, "GUESS")) == [(409, "not_found")]
    assert results(order(crowd[0], product, CODE)) == [(429, "throttled")], "as any other code"


def test_a_shared_code_is_refused_before_its_opening_as_a_wrong_one_and_counts_as_one(settings, product):
    settings.RATE_WRONG_CODES = Rate(2, 3_600)
    shared_campaign(opens_at=from_now(hours=25))
    api = client_from("192.0.2.1")

    early, wrong = order(api, product, CODE), order(api, product, "GUESS")

    told = [answer.json() | {"request_id": ""} for answer in (early, wrong)]
    assert (early.status_code, told[0]) == (wrong.status_code, told[1])
    assert results(early) == [(409, "not_found")]
    assert "Retry-After" not in early
    assert results(order(api, product, CODE)) == [(429, "throttled")]


def test_a_programs_network_has_no_limit_of_its_own(settings, product):
    """It says nothing of the networks of its buyers."""
    settings.RATE_WRONG_CODES_OF_NETWORK = Rate(1, 3_600)
    secret = api_keys.make("orders:write", "act").secret

    for _ in range(3):
        program = api_keys.KeyApi(secret, account=buying.account())
        assert results(order(program, product, "GUESS")) == [(409, "not_found")]


def test_replays_and_staff_do_not_count(settings, product):
    settings.RATE_WRONG_CODES = Rate(1, 3_600)
    shared_campaign()
    api = client_from("192.0.2.1")
    body = buying.order_of(product, coupon=CODE)
    assert api.post("/orders", body, key="placed").status_code == 201
    guesses = [order(api, product, "GUESS") for _ in range(2)]
    assert results(*guesses) == [(409, "not_found"), (429, "throttled")]
    assert api.post("/orders", body, key="placed")["Idempotency-Replayed"] == "true"
    staff = client_from("192.0.2.1", SuperuserFactory())
    assert results(*[order(staff, product, "GUESS") for _ in range(3)]) == [(409, "not_found")] * 3
