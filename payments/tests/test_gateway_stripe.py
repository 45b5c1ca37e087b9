"""Specific to Stripe: intents, keys that it forgets, a search that is behind, and its webhooks."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import orjson
import pytest
import stripe
from uuid_utils.compat import uuid7

from foundation.errors import SignatureInvalid, Unavailable
from foundation.tests.case_tables import in_one_test
from foundation.tests.outages import nowhere
from foundation.tests.racing import race, wait_until
from payments import gateways
from payments.gateways import calls, gateway, stripe_calls
from payments.gateways.contract import GatewayEvent, GatewayResult
from payments.gateways.stripe_calls import DISPUTE_STATUS
from payments.tests import stripe_description
from payments.tests.own_stripe import SECRET
from payments.tests.stripe_proxy import HALF_DONE, LOST, SERVER_ERROR

AMOUNT = 700
ASKING_CARD = {"number": "4000002500003155", "exp_month": "12", "exp_year": "2030", "cvc": "123"}


@pytest.fixture(autouse=True)
def _stripe(own_stripe, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 3


def charge(token="pm_card_visa", *, key="one") -> GatewayResult:
    return gateway().charge(key=key, token=token, amount=AMOUNT, currency="KRW", order_id=None)


def create_intent() -> stripe_calls.Intent:
    return stripe_calls.create(key="one", amount=AMOUNT, currency="KRW", payment_method="pm_card_visa")


def kept_amount() -> int:
    return sum(booked.kept_amount for booked in gateway().charges())


def intents() -> list[Any]:
    return stripe_calls._client().payment_intents.list({"limit": 100}).data


def test_a_charge_is_an_intent_that_is_created_and_then_confirmed_under_keys_of_its_own(own_stripe):
    charge()

    create, confirm = own_stripe.memory.calls
    assert (create.path, create.key) == ("/v1/payment_intents", "one")
    assert (create.value("confirm"), create.value("metadata[firstcome_key]")) == ("", "one")
    assert (confirm.path.endswith("/confirm"), confirm.key) == (True, "one:confirm")


def test_an_unconfirmed_intent_is_no_charge_and_is_continued(own_stripe):
    """The process crashed between the two calls."""
    intent = create_intent()

    assert gateway().find(key="one").status == "absent"
    assert list(gateway().charges(key="one")) == []
    assert charge().reference == intent.id
    assert len(intents()) == 1


def test_an_unconfirmed_intent_can_be_cancelled_and_then_not_confirmed(own_stripe):
    intent = create_intent()

    assert gateway().cancel(key="one").reference == intent.id

    with pytest.raises(stripe.InvalidRequestError):
        stripe_calls.confirm(intent.id, key="one")
    assert charge().status == "cancelled"
    assert kept_amount() == 0


def test_a_create_after_its_key_was_blocked_is_refused_by_idempotency(own_stripe):
    """The proxy does this: localstripe itself would create a second intent."""
    barred = gateway().cancel(key="one")

    with pytest.raises(stripe.IdempotencyError):
        create_intent()

    assert charge() == barred
    assert [one.status for one in intents()] == ["canceled"]


@pytest.mark.parametrize("search_is_behind", [False, True])
def test_a_key_that_stripe_has_forgotten_is_still_found_and_not_blocked_beside_its_charge(
    own_stripe, search_is_behind
):
    """An intent that the search does not list yet is found among the newest."""
    own_stripe.memory.search_is_behind = search_is_behind
    charged = charge()
    own_stripe.forget_keys()

    assert gateway().find(key="one") == charged
    assert gateway().cancel(key="one") == charged
    assert len(intents()) == 1


def test_an_intent_that_is_listed_nowhere_yet_is_neither_blocked_nor_charged_twice(own_stripe, monkeypatch):
    """In a busy shop a hundred newer intents may be created before the search lists this one."""
    monkeypatch.setattr(stripe_calls, "PAGE", 1)
    charged = charge()
    charge(key="newer")
    own_stripe.memory.search_is_behind = True

    assert gateway().find(key="one").status == "absent"
    assert gateway().cancel(key="one").status == "unknown"
    assert charge() == charged

    own_stripe.memory.search_is_behind = False
    assert gateway().cancel(key="one") == charged
    assert kept_amount() == 2 * AMOUNT


def test_an_intent_that_is_listed_nowhere_and_not_confirmed_is_never_charged_once_its_key_is_cancelled(
    own_stripe, monkeypatch
):
    """Its reply may still be on its way: who gets it can't confirm it. The key stayed in doubt."""
    monkeypatch.setattr(stripe_calls, "PAGE", 1)
    own_stripe.fail("create", LOST)
    assert charge().status == "unknown"
    charge(key="newer")
    own_stripe.memory.search_is_behind = True

    assert gateway().cancel(key="one").status == "cancelled"

    assert charge().status == "cancelled"
    own_stripe.memory.search_is_behind = False
    assert gateway().find(key="one").status == gateway().cancel(key="one").status == "cancelled"
    assert kept_amount() == AMOUNT


def test_a_charge_whose_every_key_keeps_an_error_can_be_cancelled(own_stripe):
    own_stripe.fail("create", *[SERVER_ERROR] * stripe_calls.MOST_KEYS)

    assert {charge().status for _ in range(stripe_calls.MOST_KEYS + 2)} == {"unknown"}

    keys = {one.key for one in own_stripe.memory.calls}
    assert len(keys) == stripe_calls.MOST_KEYS
    assert gateway().cancel(key="one").status == gateway().find(key="one").status == "cancelled"
    assert kept_amount() == 0


def test_a_key_is_not_cancelled_by_an_intent_of_it_while_another_one_may_be_charged(own_stripe, monkeypatch):
    """Stripe made good the creation that it had answered with a 500, and lists that intent alone so far."""
    monkeypatch.setattr(stripe_calls, "PAGE", 1)
    own_stripe.memory.search_is_behind = True
    own_stripe.fail("create", SERVER_ERROR)
    own_stripe.fail("confirm", LOST)
    key = f"payment-{uuid7()}"
    assert [charge(key=key).status for _ in range(2)] == ["unknown"] * 2
    stripe_calls.create(key=key, amount=AMOUNT, currency="KRW", payment_method="pm_card_visa", sent_as="late")

    assert gateway().cancel(key=key).status == "succeeded"
    assert kept_amount() == AMOUNT


@pytest.mark.parametrize("return_page", ["", "https://shop.example/orders/{order}"])
def test_an_intent_whose_confirmation_keeps_an_error_is_cancelled_without_a_list_of_all(
    own_stripe, settings, return_page
):
    settings.PAYMENT_RETURN_URL = return_page
    own_stripe.fail("confirm", SERVER_ERROR)
    order_id = uuid4()
    asked = {"token": "pm_card_visa", "amount": AMOUNT, "currency": "KRW", "order_id": order_id}
    assert gateway().charge(key="one", **asked).status == "unknown"

    assert gateway().cancel(key="one").status == gateway().cancel(key="one").status == "cancelled"
    assert gateway().charge(key="one", **asked).status == "cancelled"
    assert [one.status for one in intents()] == ["canceled"]


def test_8_at_once_after_an_error_that_is_kept_are_one_charge_and_one_refund(own_stripe):
    own_stripe.fail("create", HALF_DONE)
    own_stripe.fail("confirm", SERVER_ERROR)
    own_stripe.fail("refund", SERVER_ERROR)
    assert [charge().status for _ in range(2)] == ["unknown"] * 2

    race([charge] * 8)
    reference = charge().reference
    refund = partial(gateway().refund, key="back", charge_reference=reference, amount=300)
    race([refund] * 8)

    assert refund().status == "succeeded"
    assert [one.status for one in intents()] == ["succeeded", "requires_confirmation"]
    assert kept_amount() == AMOUNT - 300


def test_with_a_return_page_the_card_s_owner_is_sent_to_their_bank(own_stripe, settings):
    settings.PAYMENT_RETURN_URL = "https://shop.example/orders/{order}"
    token, order_id = own_stripe.payment_method(type="card", card=ASKING_CARD), uuid4()

    result = gateway().charge(key="one", token=token, amount=AMOUNT, currency="KRW", order_id=order_id)

    assert result.status == "requires_action"
    assert result.action_url == f"https://hooks.stripe.com/3d_secure_2/{result.reference}"
    [confirm] = [one for one in own_stripe.memory.calls if one.path.endswith("/confirm")]
    assert confirm.value("return_url") == f"https://shop.example/orders/{order_id}"
    [booked] = gateway().charges(key="one")
    assert (booked.status, booked.kept_amount) == ("requires_action", 0)


def test_without_one_a_card_that_requires_authentication_is_declined_and_its_intent_cancelled(own_stripe):
    token = own_stripe.payment_method(type="card", card=ASKING_CARD)

    verdict = charge(token)

    assert (verdict.status, verdict.failure_code) == ("declined", "authentication_required")
    assert verdict.failure_detail
    assert [one.status for one in intents()] == ["canceled"]
    assert charge(token).status == gateway().find(key="one").status == "cancelled"


@pytest.mark.parametrize(
    "token", ["pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds"]
)
def test_a_declined_charge_is_cancelled_and_keeps_its_code(own_stripe, token):
    """Stripe would let a declined intent be confirmed again."""
    declined = charge(token)

    assert declined.status == "declined"
    assert [one.status for one in intents()] == ["canceled"]
    assert charge(token) == gateway().find(key="one") == gateway().cancel(key="one") == declined
    assert len([path for path in own_stripe.paths() if path.endswith("/cancel")]) == 1


def test_a_charge_that_its_owner_refused_can_not_be_confirmed_with_another_card(own_stripe, settings):
    """Stripe leads the owner back with the intent's client secret, which any card can be confirmed with."""
    settings.PAYMENT_RETURN_URL = "https://shop.example/orders/{order}"
    token = own_stripe.payment_method(type="card", card=ASKING_CARD)
    asked = charge(token)
    own_stripe.authenticate("one", is_approved=False)
    assert [one.status for one in intents()] == ["requires_payment_method"]

    found = gateway().find(key="one")

    assert (found.status, found.failure_code) == ("declined", "payment_intent_authentication_failure")
    assert [one.status for one in intents()] == ["canceled"]
    with pytest.raises(stripe.InvalidRequestError):
        stripe_calls.confirm(asked.reference, key="another card")
    assert gateway().find(key="one") == charge(token) == found


def test_an_intent_in_processing_is_pending_until_it_settles(own_stripe):
    """The proxy does this: localstripe can only fail later, as in the next test, and never succeed later."""
    own_stripe.memory.banks_are_slow = True
    assert charge("pm_processing").status == "pending"
    assert gateway().cancel(key="one").status == "pending"
    own_stripe.memory.banks_are_slow = False
    wait_until(lambda: gateway().find(key="one").status == "succeeded")
    assert charge("pm_processing") == gateway().find(key="one") == gateway().cancel(key="one")
    assert kept_amount() == AMOUNT


def test_an_intent_that_fails_in_processing_is_declined(own_stripe):
    token = own_stripe.payment_method(type="sepa_debit", sepa_debit={"iban": "DE62370400440532013001"})

    assert charge(token).status == "pending"
    wait_until(lambda: gateway().find(key="one").status == "declined")
    assert charge(token).failure_code == "card_declined"
    assert gateway().cancel(key="one").status == "declined"


def test_a_refund_retried_after_stripe_forgot_its_key_is_the_same_refund(own_stripe):
    reference = charge().reference
    first = gateway().refund(key="back", charge_reference=reference, amount=300)
    own_stripe.forget_keys()

    assert gateway().refund(key="back", charge_reference=reference, amount=300) == first
    assert gateway().refund(key="back", charge_reference=reference, amount=301).status == "unknown"
    assert kept_amount() == AMOUNT - 300


def test_charges_of_others_in_the_same_account_are_ignored(own_stripe):
    card = {"amount": 900, "currency": "krw", "payment_method": "pm_card_visa", "confirm": True}
    stripe_calls._client().payment_intents.create(card | {"metadata": {"key": "one"}})
    charge(key="ours")

    assert [booked.key for booked in gateway().charges()] == ["ours"]
    assert gateway().find(key="one").status == "absent"


def test_an_invalid_api_key_is_unknown(settings):
    settings.STRIPE_API_KEY = "pk_not_secret"

    assert charge().status == "unknown"
    assert gateway().find(key="one").failure_detail == "AuthenticationError, HTTP 401"
    with pytest.raises(Unavailable):
        list(gateway().charges())


NAMES = {"firstcome_key": "one", "firstcome_order": "order 1"}
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "created": 1_795_176_000,
    "data": {"object": {"id": "pi_1", "object": "payment_intent", "metadata": NAMES}},
}
NOW = datetime.fromtimestamp(1_795_176_002, UTC)


def signed(event, *, at: datetime = NOW, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    body = orjson.dumps(event)
    header = stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret, timestamp=int(at.timestamp())
    )
    return {"stripe-signature": header}, body


def read_signed(event) -> GatewayEvent:
    headers, body = signed(event)
    read = gateways.read_event("stripe", headers=headers, body=body, now=NOW)
    assert read
    return read


@in_one_test(
    ("type", "ours"),
    [
        ("payment_intent.succeeded", "charge.succeeded"),
        ("payment_intent.payment_failed", "charge.declined"),
        ("charge.refunded", "charge.refunded"),
        ("payment_intent.processing", "payment_intent.processing"),
        ("charge.dispute.created", "charge.disputed"),
        ("charge.dispute.funds_withdrawn", "charge.disputed"),
        ("charge.dispute.closed", "dispute.closed"),
        ("refund.updated", "charge.refunded"),
        ("refund.failed", "charge.refunded"),
    ],
)
def test_events_have_the_shops_types_and_name_the_charge_by_its_key_or_else_its_reference(type, ours):
    assert read_signed(EVENT | {"type": type}) == GatewayEvent(id="evt_1", type=ours, key="one")
    kind = "dispute" if "dispute" in type else "refund"
    if kind in type:
        about = {"id": "x_1", "object": kind, "payment_intent": "pi_1", "metadata": {}}
        read = read_signed(EVENT | {"type": type, "data": {"object": about}})
        assert read == GatewayEvent(id="evt_1", type=ours, key="", reference="pi_1")
        # For a refund of the shop's own its saga asks.
        own = read_signed(EVENT | {"data": {"object": about | {"metadata": {"firstcome_key": "refund-1"}}}})
        assert (own.key, own.reference) == ("refund-1", "")


@in_one_test(
    "change",
    [
        {"data": {}},
        {"data": {"object": {"metadata": None}}},
        {"data": {"object": {"metadata": {"key": "one"}}}},
        {"data": {"object": {"metadata": {"firstcome_key": "k" * 97}}}},
        {"data": {"object": "pi_1"}},
        {"data": "pi_1"},
    ],
)
def test_an_event_of_another_system_has_no_key(change):
    assert read_signed(EVENT | change).key == ""


def test_a_body_that_is_not_signed_with_the_secret_is_refused(settings):
    headers, body = signed(EVENT)
    refused = [(headers, body + b" "), (headers, b"\xff\xfe"), (headers, b""), ({}, body)]
    refused += [({"stripe-signature": f"t=1795176002{rest}"}, body) for rest in ("", ",v1=ключ")]
    for heads, sent in (*refused, signed(EVENT, secret="whsec_of_another")):
        with pytest.raises(SignatureInvalid):
            gateways.read_event("stripe", headers=heads, body=sent, now=NOW)
    settings.WEBHOOK_SECRET_STRIPE = ""
    with pytest.raises(SignatureInvalid):
        gateways.read_event("stripe", headers=headers, body=body, now=NOW)


@pytest.mark.parametrize(
    "padding", ["," * 4_200, "," + "x" * 5_000 + ","], ids=["short parts", "one long part"]
)
def test_an_old_event_is_not_replayed_behind_a_padded_header_with_a_fresh_time(padding):
    headers, body = signed(EVENT, at=NOW - timedelta(days=1))
    replayed = f" t={int(NOW.timestamp())}{padding}{headers['stripe-signature']}"

    with pytest.raises(SignatureInvalid):
        gateways.read_event("stripe", headers={"stripe-signature": replayed}, body=body, now=NOW)


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("needs_response", "open"),
        ("appeal_under_review", "lost"),
        ("won", "won"),
        ("lost", "lost"),
        ("warning_needs_response", None),
        ("prevented", None),
    ],
)
def test_disputes_are_open_won_or_lost_and_inquiries_are_none(own_stripe, status, ours):
    """An inquiry holds no money, and what Stripe prevents it has refunded."""
    own_stripe.dispute(charge().reference, amount=100, status=status)
    assert [one.status for one in gateway().find(key="one").disputes] == ([ours] if ours else [])


def test_every_status_of_a_dispute_that_stripes_package_lists_is_known():
    listed = stripe_description.literals(stripe_description.hints(stripe.Dispute)["status"])
    assert {one for one in listed if one not in DISPUTE_STATUS} == {
        "prevented", "warning_closed", "warning_needs_response", "warning_under_review",
    }  # fmt: skip


def test_a_reference_leads_to_the_key_of_its_charge(settings):
    assert gateway().key_of(reference=charge().reference) == "one"
    assert gateway().key_of(reference="pi_of_nobody") == ""
    settings.STRIPE_API_BASE = nowhere()
    assert gateway().key_of(reference="pi_1") is None
    calls.forget()
