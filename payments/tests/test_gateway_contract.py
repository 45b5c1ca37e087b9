"""The contract of gateways, card by card, against the simulator's process and Stripe's protocol.

Stripe is localstripe, a process too, behind the proxy of `payments.tests.stripe_proxy`, whose page says
what localstripe can't do and the proxy does in its place. A test of only one of the two names it.
"""

import time
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import transaction
from structlog.testing import capture_logs

from foundation.tests.racing import race, wait_until
from payments import gateways
from payments.gateways import simulator, stripe_api, stripe_calls
from payments.gateways.contract import BookedCharge, GatewayResult
from payments.tests.own_gateway import AtGateway
from payments.tests.own_stripe import AtStripe
from scripts.tests.simulator import POOL

AMOUNT = 700
OUTSIDE = {"simulator": AtGateway, "stripe": AtStripe}


@pytest.fixture(params=OUTSIDE)
def outside(request, settings):
    """What is done at the gateway itself, whose process runs with an empty book."""
    at = OUTSIDE[request.param]
    server = request.getfixturevalue(at.fixture)
    settings.PAYMENT_GATEWAY = request.param
    return at(server)


@pytest.fixture
def gateway(outside, settings):
    return gateways.GATEWAYS[settings.PAYMENT_GATEWAY].load()


# For tests of late answers, which localstripe does not give.
of_the_simulator = pytest.mark.parametrize("outside", ["simulator"], indirect=True)


@pytest.fixture(autouse=True)
def _impatient(settings):
    """A short time-out, for tests in which the reply never comes."""
    settings.GATEWAY_TIMEOUT_SECONDS = 3


@pytest.fixture
def return_page(settings):
    """An address to lead the card's owner back to, without which Stripe has no page for them."""
    settings.PAYMENT_RETURN_URL = "https://shop.example/orders/{order}"


@pytest.fixture
def asking(outside, return_page):
    return outside.asking_card()


def charge(
    gateway, token: str, *, key: str, order_id: UUID | None = None, amount: int = AMOUNT
) -> GatewayResult:
    own_token = OUTSIDE[settings.PAYMENT_GATEWAY].card(token)
    return gateway.charge(key=key, token=own_token, amount=amount, currency="KRW", order_id=order_id)


def only_charge(gateway, key: str) -> BookedCharge:
    [booked] = gateway.charges(key=key)
    return booked


def test_a_good_card_is_charged_once_however_often_it_is_called(gateway):
    order_id = uuid4()

    results = [charge(gateway, "tok_ok", key="one", order_id=order_id) for _ in range(3)]

    assert {result.status for result in results} == {"succeeded"}
    assert len({result.reference for result in results}) == 1
    assert gateway.find(key="one") == results[0]
    booked = only_charge(gateway, "one")
    assert (booked.reference, booked.order_id) == (results[0].reference, str(order_id))
    assert (booked.kept_amount, booked.currency) == (AMOUNT, "KRW")
    assert list(gateway.charges(order_id=order_id)) == [booked]
    assert list(gateway.charges(order_id=uuid4())) == []


def test_20_at_once_with_one_key_are_one_charge(gateway):
    """Stripe refuses a key while it is in use: that result is unknown, and the call may be repeated."""
    results = race([lambda: charge(gateway, "tok_ok", key="one")] * 20)

    charged = charge(gateway, "tok_ok", key="one")
    known = [result for result in results if result.status != "unknown" or gateway is simulator]
    assert known and set(known) == {charged}
    assert charged.status == "succeeded"
    assert only_charge(gateway, "one").kept_amount == AMOUNT


@pytest.mark.parametrize(
    ("token", "code"), [("tok_declined", "card_declined"), ("tok_insufficient_funds", "insufficient_funds")]
)
def test_a_refused_card_is_refused_for_good(gateway, token, code):
    result = charge(gateway, token, key="one")

    assert (result.status, result.failure_code) == ("declined", code)
    assert result.failure_detail
    assert charge(gateway, token, key="one") == gateway.find(key="one") == result
    assert gateway.cancel(key="one").status == "declined"


def test_an_unknown_token_is_a_declined_card_unless_its_key_was_charged(gateway):
    """The reply to an earlier attempt may have been lost: the gateway's book decides, not the refusal."""
    result = charge(gateway, "tok_unissued", key="one")

    assert (result.status, result.failure_code) == ("declined", "unknown_token")
    assert gateway.find(key="one").status == "absent"
    assert charge(gateway, "tok_ok", key="two") == charge(gateway, "tok_unissued", key="two")
    assert only_charge(gateway, "two").kept_amount == AMOUNT


@pytest.mark.parametrize(("token", "later"), [("tok_error", "unknown"), ("tok_flaky", "succeeded")])
def test_an_error_is_unknown_and_a_flaky_card_is_charged_once_at_the_third_attempt(gateway, token, later):
    statuses = [charge(gateway, token, key="one").status for _ in range(4)]

    assert statuses == ["unknown", "unknown", later, later]
    charged = later == "succeeded"
    assert gateway.find(key="one").status == ("succeeded" if charged else "absent")
    assert sum(booked.kept_amount for booked in gateway.charges(key="one")) == charged * AMOUNT


def test_a_slow_card_is_charged_within_the_time_out(gateway, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 3

    assert charge(gateway, "tok_slow", key="one").status == "succeeded"


@of_the_simulator
def test_a_card_slower_than_the_time_out_is_pending_and_then_charged_or_cancelled_for_good_by_the_simulator(
    gateway, settings
):
    """localstripe has no pending charge that can still be cancelled; see `test_gateway_stripe.py`."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3

    for key in ("one", "two"):
        assert charge(gateway, "tok_slow", key=key).status == "unknown"
        assert gateway.find(key=key).status == "pending"
    assert gateway.cancel(key="two").status == "cancelled"
    wait_until(lambda: gateway.find(key="one").status == "succeeded")
    assert only_charge(gateway, "one").kept_amount == AMOUNT
    assert charge(gateway, "tok_slow", key="two").status == gateway.find(key="two").status == "cancelled"


def test_a_card_that_asks_its_owner_waits_for_them_under_its_key_and_is_cancelled_for_good(gateway, asking):
    result = charge(gateway, asking, key="one")

    assert (result.status, result.amount) == ("requires_action", AMOUNT)
    assert urlsplit(result.action_url).scheme in ("http", "https")
    assert charge(gateway, asking, key="one") == gateway.find(key="one") == result
    assert only_charge(gateway, "one").kept_amount == 0
    assert gateway.cancel(key="one").status == gateway.find(key="one").status == "cancelled"
    assert charge(gateway, asking, key="one").status == "cancelled"
    assert gateway.find(key="one").reference == result.reference


@pytest.mark.parametrize(("is_approved", "status"), [(True, "succeeded"), (False, "declined")])
def test_an_owner_who_approves_is_charged_once_and_one_who_refuses_is_a_declined_card(
    gateway, asking, outside, is_approved, status
):
    result = charge(gateway, asking, key="one")

    outside.decide(result, is_approved)

    found = gateway.find(key="one")
    assert (found.status, found.action_url, gateway.cancel(key="one").status) == (status, "", status)
    if is_approved:
        assert found.reference == result.reference
        assert charge(gateway, asking, key="one").status == "succeeded"
    else:
        assert found.failure_code and found.failure_detail
    assert only_charge(gateway, "one").kept_amount == is_approved * AMOUNT


@of_the_simulator
def test_the_order_s_page_is_sent_along(gateway, asking):
    order_id = uuid4()
    result = charge(gateway, asking, key="one", order_id=order_id)

    assert result.status == "requires_action"
    gateway.cancel(key="one")
    page = POOL.request("GET", result.action_url).data.decode()
    assert f'href="https://shop.example/orders/{order_id}"' in page


def test_a_charge_whose_reply_never_comes_is_found_by_its_key(gateway):
    result = charge(gateway, "tok_timeout_charged", key="one")

    assert (result.status, result.failure_detail) == ("unknown", "no reply in time")
    found = gateway.find(key="one")
    assert (found.status, found.amount) == ("succeeded", AMOUNT)
    assert gateway.cancel(key="one") == found


def test_a_key_that_is_cancelled_after_a_lost_request_or_before_its_charge_is_never_charged(gateway):
    assert charge(gateway, "tok_timeout_lost", key="lost").status == "unknown"
    assert gateway.find(key="lost").status == "absent"

    for key, token in (("lost", "tok_timeout_lost"), ("new", "tok_ok")):
        assert gateway.cancel(key=key).status == "cancelled"
        assert charge(gateway, token, key=key).status == "cancelled"
        assert gateway.find(key=key).status == gateway.cancel(key=key).status == "cancelled"
    assert sum(booked.kept_amount for booked in gateway.charges()) == 0


def test_a_charge_that_races_its_cancellation_has_one_outcome(gateway, settings):
    """A result `cancelled` is final even while the charge's request is still on its way."""
    settings.GATEWAY_TIMEOUT_SECONDS = 10
    for key in [f"attempt {number}" for number in range(10)]:
        charged, cancelled = race(
            [partial(charge, gateway, "tok_ok", key=key), partial(gateway.cancel, key=key)]
        )

        kept_amount = sum(booked.kept_amount for booked in gateway.charges(key=key))
        outcomes = {charged.status, cancelled.status} - {"unknown", "absent"}
        assert outcomes == ({"succeeded"} if kept_amount else {"cancelled"})
        assert charge(gateway, "tok_ok", key=key).status in outcomes
        assert sum(booked.kept_amount for booked in gateway.charges(key=key)) == kept_amount


def test_a_charge_is_refunded_in_parts_each_key_once_and_never_beyond_it(gateway):
    reference = charge(gateway, "tok_ok", key="one").reference

    first = [gateway.refund(key="a", charge_reference=reference, amount=500) for _ in range(2)]
    beyond = gateway.refund(key="b", charge_reference=reference, amount=201)
    rest = gateway.refund(key="c", charge_reference=reference, amount=200)

    assert first[0] == first[1] and first[0].status == rest.status == "succeeded"
    made = [gateway.find_refund(key=key, charge_reference=reference) for key in "abc"]
    assert [(one.status, one.amount) for one in made] == [
        ("succeeded", 500),
        ("absent", 0),
        ("succeeded", 200),
    ]
    assert (beyond.status, beyond.failure_code) == ("declined", "refund_exceeds_charge")
    found = gateway.find(key="one")
    assert (found.status, found.amount, found.refunded_amount) == ("succeeded", AMOUNT, AMOUNT)
    assert only_charge(gateway, "one").kept_amount == 0


def test_a_refund_that_fails_twice_succeeds_then_and_once(gateway):
    reference = charge(gateway, "tok_refund_fails", key="one").reference

    results = [gateway.refund(key="a", charge_reference=reference, amount=AMOUNT) for _ in range(4)]

    assert [result.status for result in results] == ["unknown", "unknown", "succeeded", "succeeded"]
    assert only_charge(gateway, "one").refunded_amount == AMOUNT


def test_a_refund_that_fails_after_it_had_succeeded_is_declined_from_then_on(gateway, outside):
    reference = charge(gateway, "tok_ok", key="one").reference
    made = gateway.refund(key="a", charge_reference=reference, amount=500)

    outside.fail_refund(made.reference)

    found = gateway.find_refund(key="a", charge_reference=reference)
    assert (made.status, found.status, found.reference) == ("succeeded", "declined", made.reference)
    assert gateway.find(key="one").refunded_amount == 0


def test_a_refund_of_no_charge_is_declined_and_a_key_used_for_another_amount_is_unknown(gateway, outside):
    result = gateway.refund(key="a", charge_reference=outside.no_charge, amount=1)
    assert (result.status, result.failure_code) == ("declined", "charge_not_found")

    charge(gateway, "tok_ok", key="one")
    other = charge(gateway, "tok_ok", key="one", amount=1)
    assert other.status == "unknown"
    assert only_charge(gateway, "one").kept_amount == AMOUNT


def test_the_book_is_read_page_by_page_oldest_first(gateway, monkeypatch):
    monkeypatch.setattr(stripe_calls if gateway is stripe_api else gateway, "PAGE", 3)
    keys = [f"key {number}" for number in range(7)]
    for key in keys:
        charge(gateway, "tok_ok", key=key)

    assert [booked.key for booked in gateway.charges()] == keys


def test_the_book_of_a_period_begins_with_its_first_instant_and_ends_before_its_last(gateway):
    """Stripe's timestamps are whole seconds, so these charges are more than one second apart."""
    for key in ("early", "middle", "late"):
        charge(gateway, "tok_ok", key=key)
        second = int(time.time())
        wait_until(lambda second=second: time.time() >= second + 1)
    early, middle, late = gateway.charges()

    def keys(**period):
        return [booked.key for booked in gateway.charges(**period)]

    assert keys(since=middle.created_at) == ["middle", "late"]
    assert keys(until=middle.created_at) == ["early"]
    assert keys(since=early.created_at, until=late.created_at) == ["early", "middle"]
    assert keys(since=late.created_at + timedelta(seconds=1)) == []
    assert keys(key="middle", since=late.created_at) == []
    assert keys(key="middle", until=late.created_at) == ["middle"]


def test_no_call_is_made_inside_a_transaction(transactional_db, gateway):
    calls = [
        lambda: charge(gateway, "tok_ok", key="one"),
        lambda: gateway.find(key="one"),
        lambda: gateway.cancel(key="one"),
        lambda: gateway.refund(key="one", charge_reference="ch", amount=1),
        lambda: gateway.find_refund(key="one", charge_reference="ch"),
        lambda: list(gateway.charges()),
    ]
    for call in calls:
        with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
            call()
    assert list(gateway.charges()) == []


def test_no_token_is_ever_logged(gateway, caplog):
    with capture_logs() as lines, caplog.at_level("DEBUG"):
        charge(gateway, "tok_error", key="one")
        charge(gateway, "tok_unissued", key="two")

    assert lines
    for token in ("tok_", "pm_", "unissued"):
        assert token not in str(lines)
        assert token not in caplog.text


@pytest.mark.parametrize(("status", "kept"), [("open", 500), ("lost", 500), ("won", AMOUNT)])
def test_a_dispute_is_told_by_look_ups_and_by_the_book_and_holds_its_amount(gateway, outside, status, kept):
    reference = charge(gateway, "tok_ok", key="one").reference
    assert gateway.find(key="one").disputes == ()

    outside.dispute(reference, 200, status)

    found = gateway.find(key="one")
    [told] = found.disputes
    assert (told.status, told.amount, told.currency) == (status, 200, "KRW")
    assert told.due_at is not None
    assert (found.currency, found.kept_amount) == ("KRW", kept)
    booked = only_charge(gateway, "one")
    assert (booked.disputes, booked.kept_amount) == ((told,), kept)
    refused = gateway.refund(key="beyond", charge_reference=reference, amount=kept + 1)
    assert (refused.status, refused.failure_code) == ("declined", "refund_exceeds_charge")
