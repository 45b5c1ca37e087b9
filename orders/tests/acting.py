"""Acts on the real shop and its model at once: what the model refuses must be refused, by the same code."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.utils import timezone

from coupons import issued_coupons
from inventory import adjustments
from inventory.reservations import Line
from inventory.tests.factories import ProductFactory
from orders import cancellation, responses
from orders.models import Order, Saga
from orders.payment import gateway_events, paying, refunding, top_ups
from orders.placement import checkout
from orders.saga import operator_actions, recovery
from orders.tests import buying, stepping, things
from orders.tests.listening import Listener
from orders.tests.model import Shop
from payments import webhooks
from payments.models import Payment, WebhookEvent
from payments.tests import events
from shop.errors import FirstcomeError
from shop.events import journal
from shop.idempotency.recorded_answers import KeyedCall, Replay, key_hash


def outcome(act: Callable[[], Any]) -> Any:
    """What it comes to: the code of what it is refused for, or what it returns."""
    try:
        return act()
    except FirstcomeError as error:
        return error.code


def keyed(account_id: int) -> KeyedCall:
    """A key that was never used."""
    return KeyedCall(account_id, key_hash(str(uuid4())), "as wished", responses.answered_later)


def open_shop(shop: Shop) -> None:
    """Three products, one of them with a limit per account, and two buyers with points."""
    for price, on_hand, limit in ((500, 12, None), (333, 20, 4), (1_000, 8, None)):
        row = ProductFactory.create(price=price, on_hand=on_hand, limit_per_account=limit)
        shop.products.append(things.Product(row.id, price, on_hand, limit))
    shop.wallets = {buying.account(points=1_000).id: 1_000 for _ in range(2)}


def issue_coupon(shop: Shop, account_id: int, *, percent: int) -> None:
    """So many percent off; for 0, an amount off what comes to a minimum."""
    terms = {"percent": percent} if percent else {"amount": 150, "minimum_amount": 400}
    coupon = things.Coupon(account_id, **terms)
    coupon.code = buying.coupon_of(
        account_id,
        discount_type="percent" if percent else "amount",
        discount_value=percent or coupon.amount,
        min_order_amount=coupon.minimum_amount,
    ).code
    shop.coupons.append(coupon)


def void_coupon(shop: Shop, coupon: things.Coupon) -> None:
    expected = shop.void(coupon)
    told = outcome(lambda: issued_coupons.void(code=coupon.code, reason="a mistake"))
    assert told == expected or not expected


def adjust(shop: Shop, product: things.Product, delta: int) -> None:
    expected = shop.adjust(product, delta)
    told = outcome(lambda: adjustments.adjust(product_id=product.id, delta=delta, reason="counted"))
    assert told == expected or not expected


def place(shop: Shop, order: things.Order) -> checkout.OrderRequest | None:
    """The order_request, if the order was placed."""
    order_request = buying.order_request(
        order.account_id,
        order.counts,
        coupon=order.coupon.code if order.coupon else "",
        points=order.points_amount,
        token=order.token,
    )
    expected = shop.refusal_of_order(order)
    told = outcome(lambda: checkout.place(order_request))
    if expected:
        assert told == expected
        return None
    order.id = told.order.id
    if told.started:
        order.saga_id, order.payment_id = told.started.saga.id, told.started.payment.id
    shop.place(order)
    return order_request


def place_again(order_request: checkout.OrderRequest) -> None:
    """By the same key: nothing happens twice."""
    assert isinstance(checkout.place(order_request), Replay)


def pay(shop: Shop, order: things.Order, token: str) -> None:
    expected = shop.pay(order, token)
    call = keyed(order.account_id)
    told = outcome(
        lambda: paying.pay(account_id=order.account_id, order_id=order.id, token=token, keyed=call)
    )
    if expected:
        assert told == expected
    else:
        order.saga_id, order.payment_id = told.started.saga.id, told.started.payment.id


def cancel(shop: Shop, order: things.Order) -> None:
    expected = shop.cancel(order)
    told = outcome(lambda: cancellation.cancel(order_id=order.id, account_id=order.account_id))
    assert told == expected if expected else told.status == order.status


def lapse(order: things.Order) -> None:
    """The time to pay it is over."""
    order.is_lapsed = True
    Order.objects.filter(id=order.id).update(expires_at=timezone.now())


def refund(
    shop: Shop, order: things.Order, wanted: dict[things.Product, int] | None, *, restock: bool
) -> None:
    """So much of the order; None asks for all that is left."""
    expected = shop.refusal_of_refund(order, wanted)
    told = outcome(
        lambda: refunding.start_refund(
            order_id=order.id,
            wanted=wanted and [Line(product.id, count) for product, count in wanted.items()],
            reason="they asked",
            restock=restock,
            keyed=keyed(order.account_id),
        )
    )
    if expected:
        assert told == expected
        return
    row, counts = told.refund, wanted or order.left()
    one = things.Refund(order, row.id, counts, restock, row.amount, row.points_amount, told.saga_id)
    one.assert_fair()
    shop.refund(one)


def top_up(listener: Listener, one: things.TopUp) -> None:
    started = top_ups.start(
        account_id=one.account_id, amount=one.amount, token=one.token, keyed=keyed(one.account_id)
    )
    assert isinstance(started, top_ups.StartedTopUp)
    one.payment_id, one.saga_id = started.payment.id, started.saga_id
    listener.shop.top_ups.append(one)
    stepping.advance(one.saga_id)


def drive(listener: Listener, subject: things.Subject, *, points: int | None = None) -> None:
    """Its saga goes as far as it goes, or past so many points: the lease of who drove it before is over."""
    Saga.objects.filter(id=subject.saga_id).update(leased_until=None)
    with listener.deadly(points):
        stepping.advance(subject.saga_id)


def sweep(shop: Shop, *, is_later: bool) -> None:
    """What beat does: now, or when every pause and lease is over."""
    now = timezone.now()
    if is_later:
        Saga.objects.filter(ended_at=None).update(next_attempt_at=now, leased_until=None)
        WebhookEvent.objects.filter(handled_at=None).update(next_attempt_at=now)
    assert cancellation.expire_due() == shop.expire()
    for saga_id in recovery.dequeue_due(limit=100):
        stepping.advance(saga_id)
    for event_id in webhooks.dequeue_due(limit=100):
        gateway_events.handle(event_id)


def give_up(subject: things.Subject) -> None:
    """The time to find out what became of its charge is over."""
    subject.is_late = True
    Saga.objects.filter(id=subject.saga_id).update(deadline_at=timezone.now())


def retry(subject: things.Subject) -> None:
    """An operator has it tried again, with a new deadline."""
    Saga.objects.filter(id=subject.saga_id).update(leased_until=None)
    ended = Saga.objects.filter(id=subject.saga_id, ended_at__isnull=False).exists()
    told = outcome(
        lambda: operator_actions.retry(saga_id=subject.saga_id, reason="they called", by=journal.SYSTEM)
    )
    assert told == "saga_ended" if ended else not isinstance(told, str)


def tell(subject: things.Order | things.TopUp, *, number: int, type: str) -> None:
    """A webhook tells of its charge, truly or not, for the first time or again; it is worked on later."""
    key = Payment.objects.get(id=subject.payment_id).charge_key
    events.take(type=type, key=key, id=f"evt_{number}")


def handle(event: WebhookEvent) -> None:
    """As often as one likes; whoever drove its sagas before is gone."""
    Saga.objects.filter(ended_at=None).update(leased_until=None)
    gateway_events.handle(event.id)
