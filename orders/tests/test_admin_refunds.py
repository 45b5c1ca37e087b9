"""The admin's page that refunds an order: it refunds what it has shown, once, or nothing."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.test import Client
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from foundation import clock
from foundation.db import transactions
from foundation.tests.confirming import said
from foundation.tests.journal_lines import journal_line
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each
from orders.models import Order, Refund
from orders.payment import gateway_bookings
from orders.tests import buying, operating_pages
from orders.tests.operating_pages import operator, page_of
from payments.gateways import calls
from payments.models import Payment
from payments.tests.own_gateway import on_its_page

pytestmark = pytest.mark.django_db(transaction=True)
REFUND = "orders.add_refund"
TOO_MANY = "The refund exceeds what is left of the order. TEA: 2 asked for, 1 left."


@pytest.fixture
def client():
    return signed_in(operator(REFUND))


@pytest.fixture
def order():
    """Three of one product at 500, less 100, of which 200 in points: 1,200 by card."""
    return operating_pages.paid_order(units=3, points=200, discount=100)


def choice(order: Order, units: int | None = None, **more: str) -> dict[str, str]:
    """The form for this many units of the order's line, or for all that is left."""
    line = order.lines.get()
    some = {"what": "all"} if units is None else {"what": "some", f"units_{line.id}": str(units)}
    return some | {"form_id": str(uuid7()), "reason": "It came broken.", "restock": "on"} | more


def shown(client: Client, order: Order, units: int | None = None, **more: str):
    """The page that shows the amount."""
    page = client.post(page_of(order, "refund"), choice(order, units, **more))
    assert page.status_code == 200
    return page


def shown_again(client: Client, order: Order, refused):
    """The page that shows the amount for the form that came back with a refusal."""
    form = refused.context["form"]
    sent = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    return client.post(page_of(order, "refund"), sent)


def amount_of(page) -> str:
    return str(page.context["preview"].question)


def confirmation(page) -> dict[str, str]:
    return dict(page.context["hidden"]) | {"confirmed": "yes"}


def confirm(client: Client, order: Order, fields: dict[str, str]):
    return client.post(page_of(order, "refund"), fields)


def both_confirm(client: Client, order: Order, units: int | None = None) -> tuple[list[Any], Client, Any]:
    """Two operators confirm at once what both were shown: the answers, the slower one and its refusal."""
    bea = signed_in(operator(REFUND, name="bea"))
    forms = [(one, confirmation(shown(one, order, units))) for one in (client, bea)]
    answers = race([partial(one.post, page_of(order, "refund"), fields) for one, fields in forms])
    [refused] = [answer for answer in answers if answer.status_code == 200]
    return answers, forms[answers.index(refused)][0], refused


def refunded(order: Order) -> list[tuple[int, int, int]]:
    refunds = Refund.objects.filter(order=order).order_by("id")
    return list(refunds.values_list("amount", "points_amount", "card_amount"))


def test_the_amount_is_shown_before_and_exactly_that_is_refunded(client, order):
    opened = client.get(page_of(order, "refund"))
    assert "1,400 KRW can still be refunded." in opened.text
    page = shown(client, order, 1)
    assert amount_of(page) == "Refund 467 KRW?"
    assert refunded(order) == []

    done = confirm(client, order, confirmation(page))

    [(amount, points, card)] = refunded(order)
    assert (amount, points, card) == (467, 66, 401)
    assert said(client, done) == [
        "The refund of 467 KRW has started: 66 in points, 401 by card. This page shows how far it is."
    ]
    requested = journal_line("refund.requested")
    assert (requested.actor, requested.actor_name, requested.detail) == ("staff", "ada", "It came broken.")
    buying.settle_everything()
    assert buying.state_of(order) == "paid"


def test_of_many_concurrent_repeats_one_refunds_and_a_later_one_says_so(client, order):
    fields = confirmation(shown(client, order, 1))
    browsers = [Client() for _ in range(8)]
    for browser in browsers:
        browser.cookies = client.cookies.copy()
    answers = race_each(lambda browser: browser.post(page_of(order, "refund"), fields), browsers)
    assert {answer.status_code for answer in answers} == {302}
    message = said(client, confirm(client, order, fields))[-1]
    assert message.startswith("This form was sent before; nothing was done again. The refund of 467 KRW")
    assert len(refunded(order)) == 1


def test_a_changed_order_is_refused_with_the_new_amount_and_nothing_is_done(client, order):
    fields = confirmation(shown(client, order))
    buying.refund(order, order.lines.get().product)

    refused = confirm(client, order, fields)

    assert said(client, refused) == [
        "The order has changed since the amount was shown, and nothing was refunded: this refund would now "
        "return 933 KRW (134 KRW in points, 799 KRW by card), not 1,400 KRW (200 KRW in points, 1,200 KRW by "
        "card)."
    ]
    shown_now = shown_again(client, order, refused)
    assert amount_of(shown_now) == "Refund 933 KRW?"
    assert len(refunded(order)) == 1
    confirm(client, order, confirmation(shown_now))
    assert [amount for amount, _, _ in refunded(order)] == [467, 933]


def test_a_form_that_was_changed_or_does_not_have_what_was_shown_refunds_nothing(client, order):
    page = client.post(page_of(order, "refund"), choice(order, 1) | {"what": "all"})
    assert "To refund these units, choose “These units:”" in page.text
    assert "preview" not in page.context
    unseen = client.post(page_of(order, "refund"), choice(order) | {"confirmed": "yes"})
    assert unseen.status_code == 200
    fields = confirmation(shown(client, order, 1))
    fields["shown"] = fields["shown"].replace('"amount":467', '"amount":1')
    assert "this refund would now return 467 KRW" in said(client, confirm(client, order, fields))[0]
    assert refunded(order) == []


def test_of_two_operators_who_refund_the_same_units_one_succeeds(client, order):
    answers, _, refused = both_confirm(client, order, 2)

    assert sorted(answer.status_code for answer in answers) == [200, 302]
    assert said(client, refused) == [TOO_MANY]
    assert len(refunded(order)) == 1
    buying.settle_everything()


def test_two_operators_who_were_shown_the_same_unit_of_three_refund_it_once(client):
    order = operating_pages.paid_order(units=3)
    _, slower, refused = both_confirm(client, order, 1)

    assert refunded(order) == [(500, 0, 500)]
    assert said(client, refused) == [
        "The order has changed since the amount was shown, and nothing was refunded: this refund would now "
        "return 500 KRW (0 KRW in points, 500 KRW by card) once more, after another refund."
    ]
    confirm(slower, order, confirmation(shown_again(slower, order, refused)))
    assert len(refunded(order)) == 2


def test_a_refund_whose_answer_was_lost_is_not_done_again_by_the_page_that_says_so(
    client, tmp_path, monkeypatch
):
    order = operating_pages.paid_order(units=3)
    fields = confirmation(shown(client, order, 1))
    # A database that is lost for longer is not waited for: the first loss is the last attempt.
    monkeypatch.setattr(transactions, "CONNECTION_LOST_BUDGET_SECONDS", 0.0)
    with losing_reply_to_commit(tmp_path) as is_lost:
        page = confirm(client, order, fields)
        assert is_lost.is_set()
    assert said(client, page) == [f"{transactions.OUTCOME_UNKNOWN_DETAIL} Try again in 1 s."]

    again = confirm(client, order, confirmation(shown_again(client, order, page)))

    [message] = said(client, again)
    assert message.startswith("This form was sent before; nothing was done again.")
    assert refunded(order) == [(500, 0, 500)]


def test_a_confirmation_whose_effect_may_be_recorded_no_more_refunds_nothing(client):
    order = operating_pages.paid_order(units=3)
    fields = confirmation(shown(client, order, 1))
    with clock.shifted(by=timedelta(hours=13)):
        refused = confirm(client, order, fields)
    [error] = refused.context["form"].errors["form_id"]
    assert error == "This form is too old to be sent. Open the page again."
    assert refunded(order) == []


def test_of_two_operators_who_refund_all_one_succeeds(client, order):
    _, _, refused = both_confirm(client, order)
    assert said(client, refused) == ["All of the order is refunded already, or about to be."]
    assert refunded(order) == [(1_400, 200, 1_200)]


def test_more_than_is_left_is_refused_before_the_amount(client, order):
    buying.refund(order, {order.lines.get().product: 2})
    page = shown(client, order, 2)
    assert said(client, page) == [TOO_MANY]
    assert "preview" not in page.context


def test_an_unpaid_order_is_not_refunded(client):
    order = operating_pages.unpaid_order()
    assert page_of(order, "refund") not in client.get(page_of(order)).text
    page = shown(client, order)
    assert said(client, page) == ["The order is not paid: it is awaiting_payment."]


def test_what_came_back_of_a_unit_is_refunded_alone(client):
    """It could be given back with another unit alone."""
    order = operating_pages.paid_order(units=3)
    assert "earlier refund that failed" not in client.get(page_of(order, "refund")).text
    fail(buying.refunded(order, order.lines.get().product))
    assert "earlier refund that failed: 500 KRW" in client.get(page_of(order, "refund")).text

    page = shown(client, order, what="owed")
    assert amount_of(page) == "Refund 500 KRW?"
    confirm(client, order, confirmation(page))

    buying.settle_everything()
    assert [amount for amount, _, _ in refunded(order)] == [500, 500]
    order.refresh_from_db()
    assert (order.status, order.refunded_amount, order.lines.get().refunded_quantity) == ("paid", 500, 1)


def fail(refund: Refund):
    """The gateway takes the refund back, and the shop looks."""
    payment = Payment.objects.get(order=refund.order_id)
    query = {"charge": payment.charge_reference}
    for made in calls.request_json("GET", "/refunds", query=query).content["results"]:
        on_its_page(f"/refunds/{made['id']}/fail")
    assert gateway_bookings.look_up(payment).is_booked
