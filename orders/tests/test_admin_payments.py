"""The admin's pages of payments: those in doubt first, and a button that asks the gateway now."""

import base64
from typing import Any

import orjson
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.payment import gateway_lookups
from orders.tests import buying, hanging, operating_pages
from orders.tests.hanging import Away
from orders.tests.operating_pages import hidden_fields, operator
from payments.gateways import gateway
from payments.models import Payment
from payments.tests.factories import PaymentFactory
from scripts.tests.simulator import Simulator
from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.confirming import said
from shop.tests.racing import race, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
LIST = reverse("admin:payments_payment_changelist")


@pytest.fixture
def ada() -> User:
    return operator("payments.change_payment")


@pytest.fixture
def product() -> Product:
    return ProductFactory.create(on_hand=10, price=1_000)


@pytest.fixture
def doubtful(product: Product, impatient: None) -> Saga:
    """The saga of a payment that was charged, whose reply never came."""
    return hanging.in_doubt(product)


def page_of(payment: Payment, action: str = "change") -> str:
    return reverse(f"admin:payments_payment_{action}", args=[payment.id])


def listed(client: Client, **query: str) -> set[Any]:
    return {row.id for row in client.get(LIST, query).context["cl"].result_list}


def ask(client: Client, payment: Payment) -> list[str]:
    _, messages = operating_pages.press(
        client, page_of(payment, "look_up"), page_of(payment), reason="asked by mail"
    )
    return messages


def test_the_list_opens_with_the_payments_in_doubt(ada: User, product: Product, doubtful: Saga) -> None:
    client, pending = signed_in(ada), Payment.objects.get(order_id=hanging.started(product).about_id)
    paid = Payment.objects.get(order=operating_pages.paid_order())
    in_doubt = hanging.payment_of(doubtful)
    assert listed(client) == listed(client, show="in_doubt") == {in_doubt.id}
    assert listed(client, show="unsettled") == {in_doubt.id, pending.id}
    assert listed(client, show="everything") == {in_doubt.id, pending.id, paid.id}
    assert listed(client, o="1") == {in_doubt.id}


def test_the_gateways_answer_is_shown_and_the_payment_continues(ada: User, doubtful: Saga) -> None:
    payment, client = hanging.payment_of(doubtful), signed_in(ada)
    assert page_of(payment, "look_up") in client.get(page_of(payment)).content.decode()
    reference = gateway().find(key=payment.charge_key).reference

    [message] = ask(client, payment)

    assert message == (
        f"The gateway has charged 700 KRW ({reference}). The payment is in doubt; its saga continues now."
    )
    line = JournalLine.objects.get(what="payment.looked_up")
    assert (line.actor_name, line.detail, line.reference) == ("ada", "asked by mail", reference)
    assert (line.is_internal, line.order_id) == (True, payment.order_id)
    assert message in client.get(page_of(payment)).content.decode()
    Saga.objects.filter(id=doubtful.id).update(leased_until=None)
    hanging.advance(doubtful)
    assert buying.state_of(doubtful.about_id) == "paid"
    assert buying.broken_laws() == []


def test_a_payment_that_settles_while_the_gateway_is_asked_is_described_as_it_is_afterwards(
    ada: User, doubtful: Saga, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = gateway_lookups._find

    def settle_meanwhile(key: str) -> Any:
        result = find(key)
        Saga.objects.filter(id=doubtful.id).update(leased_until=None)
        hanging.advance(doubtful)
        return result

    monkeypatch.setattr(gateway_lookups, "_find", settle_meanwhile)
    [message] = ask(signed_in(ada), hanging.payment_of(doubtful))
    assert message.endswith("That agrees with the payment, which is succeeded.")


def test_the_saga_is_enqueued_for_a_worker(ada: User, doubtful: Saga, broker_server: Any) -> None:
    ask(signed_in(ada), hanging.payment_of(doubtful))
    wait_until(lambda: broker_server.llen("celery") > 0)
    bodies = [orjson.loads(message)["body"] for message in broker_server.lrange("celery", 0, -1)]
    assert str(doubtful.id) in "".join(base64.b64decode(body).decode() for body in bodies)


def test_a_settled_payment_is_compared_with_the_answer(ada: User, own_gateway: Simulator) -> None:
    client, payment = signed_in(ada), Payment.objects.get(order=operating_pages.paid_order())
    assert "That agrees with the payment, which is succeeded." in ask(client, payment)[0]
    gateway().refund(key="by hand", charge_reference=payment.charge_reference, amount=100)
    [message] = ask(client, payment)
    assert "of which 100 KRW is refunded" in message
    assert message.endswith("That agrees with the payment, which is succeeded."), "it is booked"
    Payment.objects.filter(id=payment.id).update(refunded_amount=200)
    [message] = ask(client, payment)
    assert message.endswith("That differs from the payment, which is succeeded: see the reconciliations.")


def test_a_gateway_that_is_away_is_reported_at_once(ada: User, doubtful: Saga, away: Away) -> None:
    away.take("GATEWAY_URL")
    [message] = ask(signed_in(ada), hanging.payment_of(doubtful))
    away.back()
    assert message.startswith("The gateway gave no answer: ")
    assert message.endswith("Nothing has changed; its saga goes on asking.")
    assert hanging.payment_of(doubtful).status == "in_doubt"


def test_no_more_look_ups_wait_at_once_than_threads(
    ada: User, doubtful: Saga, own_gateway: Simulator, settings: LazySettings
) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS = 2.0
    payment, clients = hanging.payment_of(doubtful), [signed_in(ada) for _ in range(7)]
    forms = [hidden_fields(one.get(page_of(payment, "look_up")).context["form"]) for one in clients]
    own_gateway.post("/latency", {"ms": 3_000})
    answers = race(
        [
            lambda one=one, fields=fields: one.post(
                page_of(payment, "look_up"), fields | {"reason": "all at once"}
            )
            for one, fields in zip(clients, forms, strict=True)
        ]
    )
    own_gateway.call("DELETE", "/latency")
    texts = [said(one, answer)[0] for one, answer in zip(clients, answers, strict=True)]
    refused = [text for text in texts if text.startswith("4 look-ups wait for the gateway already.")]
    assert len(refused) == len(clients) - gateway_lookups.MOST_AT_ONCE


def test_a_form_that_is_sent_twice_asks_once(ada: User, doubtful: Saga) -> None:
    payment, client = hanging.payment_of(doubtful), signed_in(ada)
    page = page_of(payment, "look_up")
    fields = hidden_fields(client.get(page).context["form"]) | {"reason": "asked by mail"}
    for _ in range(2):
        client.post(page, fields)
    messages = operating_pages.messages_of(client.get(page_of(payment)))
    assert messages[1] == f"This form was sent before; nothing was done again. {messages[0]}"
    assert JournalLine.objects.filter(what="payment.looked_up").count() == 1


def test_a_payment_by_points_is_not_asked_about(ada: User) -> None:
    order = Order.objects.get(id=PaymentFactory.create(points_amount=500, card_amount=0).order_id)
    payment, client = Payment.objects.get(order=order), signed_in(ada)
    assert page_of(payment, "look_up") not in client.get(page_of(payment)).content.decode()
    assert ask(client, payment) == ["The payment is by points alone: the gateway knows nothing of it."]
