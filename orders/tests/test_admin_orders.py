"""The admin's pages of orders and payments: what they show, by a bounded number of queries, their actions."""

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from events.models import WebhookDelivery
from events.tests.delivering import deliver_all, deliver_due
from events.webhooks import deliveries
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import said
from foundation.tests.factories import set_columns, staff_member
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race, wait_until
from inventory.models import Product
from orders.models import Refund, Saga
from orders.payment import gateway_bookings, gateway_lookups
from orders.saga import rows as saga_rows
from orders.tests import buying, hanging, operating_pages
from orders.tests.hanging import product
from orders.tests.operating_pages import hidden_fields, messages_of, operator, page_of, press
from orders.tests.owners import charge_of
from payments.gateways import gateway
from payments.models import Payment
from payments.tests.factories import PaymentFactory

__all__ = ["product"]
pytestmark = pytest.mark.django_db(transaction=True)
CANCEL, REPLAY = "orders.change_order", "shop.change_journalline"


def test_parts_need_the_permission_to_view_them():
    order = operating_pages.paid_order(discount=100)
    reader = staff_member("orders.view_order")
    response = signed_in(reader).get(page_of(order))
    shown, page = response.context["order_page"], response.text
    assert shown["hidden"] == ["payment", "refunds", "sagas", "ledger", "journal and events"]
    assert not shown.keys() & {"payments", "refunds", "timelines", "transfers", "journal", "events"}
    assert not any(f"/admin/{link}/" in page for link in ("auth/user", "coupons/coupon", "shop/journalline"))
    assert "Not shown, for lack of a permission: payment" in page
    assert Payment.objects.get(order=order).charge_reference not in page


def test_the_page_shows_a_dispute_and_who_made_a_refund(own_gateway):
    order = operating_pages.paid_order()
    payment = Payment.objects.get(order=order)
    asked = {"charge": payment.charge_reference, "amount": 200}
    own_gateway.post("/disputes", asked, key="owner")
    own_gateway.post("/refunds", asked | {"amount": 300}, key="clerk")
    assert gateway_bookings.look_up(payment).is_booked
    client = signed_in(operator())
    page = client.get(page_of(order)).text
    shown = client.get(page_of(order)).context["order_page"]
    assert shown["payments"][0]["dispute"].amount == 200
    assert shown["refunds"][0].get_source_display() == "gateway"
    assert "200 KRW, to be answered" in re.sub(r"<[^>]*>", "", page)
    assert "to be answered at the gateway until" in page
    disputed = reverse("admin:payments_payment_changelist") + "?show=disputed"
    assert str(payment.id) in client.get(disputed).text


def test_an_unpaid_order_is_cancelled_with_its_reason():
    ada, order = operator(CANCEL), operating_pages.unpaid_order()
    client = signed_in(ada)
    assert page_of(order, "cancel") in client.get(page_of(order)).text

    sent, messages = press(client, page_of(order, "cancel"), reason="asked by <phone>")

    assert sent["Location"] == page_of(order)
    assert messages == ["The order is cancelled: what it held is released."]
    assert buying.state_of(order) == "cancelled"
    noted = journal_line("order.cancelled_by_staff")
    assert (noted.actor, noted.actor_id, noted.detail) == ("staff", ada.id, "asked by <phone>")
    assert noted.is_internal and noted.order_id == order.id
    page = client.get(page_of(order)).text
    assert "asked by &lt;phone&gt;" in page and page_of(order, "cancel") not in page


def test_a_paid_order_is_not_cancelled():
    client, order = signed_in(operator(CANCEL)), operating_pages.paid_order()
    assert page_of(order, "cancel") not in client.get(page_of(order)).text
    _, messages = press(client, page_of(order, "cancel"))
    assert messages == ["The order is paid: ask for a refund instead."]
    assert buying.state_of(order) == "paid"


def test_the_events_of_an_order_are_sent_again_in_sequence(own_data_platform):
    order = operating_pages.paid_order()
    buying.refunded(order)
    deliver_due()
    ada = operator(REPLAY)
    paid, refunded = (row.event_id for row in deliveries.of_order(order.id))
    rows = WebhookDelivery.objects.filter(first_position=None).order_by("id")
    events = rows.values_list("event_id", "status")

    _, messages = press(signed_in(ada), page_of(order, "resend_events"), reason="lost there")

    assert messages == ["2 queued: they are delivered within seconds, in sequence."]
    assert list(events.all()) == [(paid, "pending"), (refunded, "pending")]
    noted = JournalLine.objects.filter(what="event.resent")
    assert {(line.actor_name, line.detail) for line in noted} == {("ada", "lost there")}
    assert deliver_due() == 2
    assert list(events.all()) == [(paid, "delivered"), (refunded, "delivered")]


def test_a_replay_that_is_sent_twice_is_done_once():
    order, ada = operating_pages.paid_order(), operator(REPLAY)
    deliver_all()
    client, page = signed_in(ada), page_of(order, "resend_events")
    fields = hidden_fields(client.get(page).context["form"]) | {"reason": "lost there"}
    race([lambda: signed_in(ada).post(page, fields) for _ in range(4)])
    client.get(page_of(order))
    client.post(page, fields)
    assert messages_of(client.get(page_of(order))) == [
        "This form was sent before; nothing was done again. "
        "1 queued: they are delivered within seconds, in sequence."
    ]
    assert times_noted("event.resent") == 1


def test_an_order_without_events_is_not_replayed():
    order, client = operating_pages.unpaid_order(), signed_in(operator(REPLAY))
    assert page_of(order, "resend_events") not in client.get(page_of(order)).text
    _, messages = press(client, page_of(order, "resend_events"))
    assert messages == ["The order has no events: they are written when it is paid, refunded or cancelled."]


@pytest.mark.django_db
@in_one_test("action", ["cancel", "resend_events", "refund"])
def test_actions_on_an_unknown_order_are_not_found(action):
    client = signed_in(operator(*operating_pages.ACT))
    for id in ("nothing", "01a1f8f3-b7e1-76e7-bd12-0a158cc49d52"):
        page = reverse(f"admin:orders_order_{action}", args=[id])
        fields = {"reason": "x", "form_id": str(uuid7())}
        assert client.post(page, fields).status_code == 404


LIST = reverse("admin:payments_payment_changelist")


@pytest.fixture
def ada() -> User:
    return operator("payments.change_payment")


@pytest.fixture
def doubtful(product: Product, impatient: None) -> Saga:
    """The saga of a payment that was charged, whose reply never came."""
    return hanging.in_doubt(product)


def payment_page_of(payment: Payment, action: str = "change") -> str:
    return reverse(f"admin:payments_payment_{action}", args=[payment.id])


def listed(client: Client, **query: str) -> set[Any]:
    return {row.id for row in client.get(LIST, query).context["cl"].result_list}


def ask(client: Client, payment: Payment) -> list[str]:
    return press(client, payment_page_of(payment, "look_up"), reason="asked by mail")[1]


def test_the_list_opens_with_the_payments_in_doubt(ada, product, doubtful):
    client, pending = signed_in(ada), Payment.objects.get(order_id=hanging.started(product).about_id)
    paid = Payment.objects.get(order=operating_pages.paid_order())
    in_doubt = hanging.payment_of(doubtful)
    assert listed(client) == listed(client, show="in_doubt") == {in_doubt.id}
    assert listed(client, show="unsettled") == {in_doubt.id, pending.id}
    assert listed(client, show="everything") == {in_doubt.id, pending.id, paid.id}
    assert listed(client, o="1") == {in_doubt.id}


def test_the_gateways_answer_is_shown_and_the_payment_continues(ada, doubtful):
    payment, client = hanging.payment_of(doubtful), signed_in(ada)
    assert payment_page_of(payment, "look_up") in client.get(payment_page_of(payment)).text
    reference = charge_of(payment).reference

    [message] = ask(client, payment)

    assert message == (
        f"The gateway has charged 700 KRW ({reference}). The payment is in doubt; its saga continues now."
    )
    line = journal_line("payment.looked_up")
    assert (line.actor_name, line.detail, line.reference) == ("ada", "asked by mail", reference)
    assert (line.is_internal, line.order_id) == (True, payment.order_id)
    assert message in client.get(payment_page_of(payment)).text
    set_columns(doubtful, leased_until=None)
    hanging.advance(doubtful)
    assert buying.state_of(doubtful.about_id) == "paid"


def test_a_payment_that_settles_while_the_gateway_is_asked_is_described_as_it_is_afterwards(
    ada, doubtful, monkeypatch
):
    def settle_meanwhile(key):
        result = gateway().find(key=key)
        set_columns(doubtful, leased_until=None)
        hanging.advance(doubtful)
        return result

    settling = SimpleNamespace(find=settle_meanwhile)
    monkeypatch.setattr(gateway_bookings, "gateways", SimpleNamespace(of=lambda books: settling))
    [message] = ask(signed_in(ada), hanging.payment_of(doubtful))
    assert message.endswith("That agrees with the payment, which is succeeded.")


def test_the_saga_is_enqueued_for_a_worker(ada, doubtful, broker_server):
    ask(signed_in(ada), hanging.payment_of(doubtful))
    wait_until(lambda: broker_server.llen("celery") > 0)
    sent = [orjson.loads(message)["headers"]["task"] for message in broker_server.lrange("celery", 0, -1)]
    assert set(sent) == {"orders.advance"}
    assert saga_rows.due().filter(id=doubtful.id).exists()


def test_a_settled_payment_is_compared_with_the_answer(ada, own_gateway, unlawful):
    client, payment = signed_in(ada), Payment.objects.get(order=operating_pages.paid_order())
    assert "That agrees with the payment, which is succeeded." in ask(client, payment)[0]
    gateway().refund(key="by hand", charge_reference=payment.charge_reference, amount=100)
    [message] = ask(client, payment)
    assert "of which 100 KRW is refunded" in message
    assert message.endswith("That agrees with the payment, which is succeeded."), "it is booked"
    assert (Refund.objects.get().source, Refund.objects.get().card_amount) == ("gateway", 100)
    set_columns(payment, refunded_amount=200)
    [message] = ask(client, payment)
    assert message.endswith("That differs from the payment, which is succeeded: see the reconciliations.")


def test_a_gateway_that_is_away_is_reported_at_once(ada, doubtful, away):
    away.take("GATEWAY_URL")
    [message] = ask(signed_in(ada), hanging.payment_of(doubtful))
    away.back()
    assert message.startswith("The gateway gave no answer: ")
    assert message.endswith("Nothing has changed; its saga goes on asking.")
    assert hanging.payment_of(doubtful).status == "in_doubt"


def test_no_more_look_ups_wait_at_once_than_threads(ada, doubtful, own_gateway, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 2.0
    page, clients = (
        payment_page_of(hanging.payment_of(doubtful), "look_up"),
        [signed_in(ada) for _ in range(7)],
    )
    forms = [hidden_fields(one.get(page).context["form"]) | {"reason": "all at once"} for one in clients]
    own_gateway.post("/latency", {"ms": 3_000})
    answers = race([partial(one.post, page, fields) for one, fields in zip(clients, forms, strict=True)])
    own_gateway.call("DELETE", "/latency")
    texts = [said(one, answer)[0] for one, answer in zip(clients, answers, strict=True)]
    refused = [text for text in texts if text.startswith("4 look-ups wait for the gateway already.")]
    assert len(refused) == len(clients) - gateway_lookups.MOST_AT_ONCE


def test_a_payment_by_points_is_not_asked_about(ada, unlawful):
    payment, client = PaymentFactory(points_amount=500, card_amount=0), signed_in(ada)
    assert payment_page_of(payment, "look_up") not in client.get(payment_page_of(payment)).text
    assert ask(client, payment) == ["The payment is by points alone: the gateway knows nothing of it."]
