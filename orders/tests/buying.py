"""Helpers for tests that buy: accounts with points, coupons, orders, refunds, and the audit."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from coupons import issuing
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory
from foundation import journal
from foundation.errors import FirstcomeError, Rejected
from foundation.idempotency.recorded_answers import KeyedCall, key_hash
from foundation.operations.audits import laws
from foundation.operations.audits.checks import LawReport, merge_reports
from foundation.tests.factories import AccountFactory, reloaded, staff_member
from foundation.tests.racing import wait_until
from inventory.availability import Line
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import cancellation, schemas
from orders.models import Order, Refund, Saga
from orders.payment import charging, refunding, top_ups
from orders.payment.refunding import StartedRefund
from orders.placement import checkout
from orders.placement.decisions import OrderRequest, PlacedOrder
from orders.tests import stepping
from payments import ledger
from payments.models import Payment

TWO_STRATEGIES = ("group_commit", "redis_gate")
"""For rules that all strategies share: one that batches, and one that asks Redis first.

Races and exact counts have each strategy as a parameter.
"""
by_two_strategies = pytest.mark.parametrize("strategy", TWO_STRATEGIES, indirect=True)

# Either is given as the row or by its id.
Buyer = User | int
Bought = Order | UUID
Wanted = Product | Mapping[Product, int]
"""One unit of a product, or so many of each."""


def _id(given):
    return getattr(given, "id", given)


def _lines(wanted):
    counts = wanted if isinstance(wanted, Mapping) else {wanted: 1}
    return [Line(product.id, count) for product, count in counts.items()]


def account(*, points=0):
    """A new account with these points in its wallet."""
    made = AccountFactory()
    if points:
        with transaction.atomic():
            ledger.bulk_open_wallets([made.id], points)
    return made


def product_and_buyer(*, points=0, **columns) -> tuple[Product, Any]:
    """A new product with these columns, and a new account with these points."""
    return ProductFactory(**columns), account(points=points)


def order_of(product, token="", *, quantity=1, **more) -> dict[str, Any]:
    """The body of a call that orders these units, and pays them at once by a card with this token."""
    paid = {"payment": {"token": token}} if token else {}
    return {"items": [{"product": product.id, "quantity": quantity}]} | paid | more


def coupon_of(buyer, **campaign) -> Coupon:
    """A coupon issued to the account, of a new campaign."""
    drop: Campaign = CampaignFactory(**campaign)
    return issuing.issue(campaign_id=drop.id, user_id=_id(buyer)).coupon


def coupon_code(buyer, **campaign) -> str:
    return coupon_of(buyer, **campaign).code


def keyed(buyer, answer: Callable[[Any], Any] = schemas.answered_later, *, key="") -> KeyedCall:
    """A call with a new key, unless one is given."""
    return KeyedCall(_id(buyer), key_hash(key or str(uuid4())), "fingerprint", answer)


def start_top_up(buyer, amount=100, token="tok_ok", **more) -> charging.StartedPayment:
    started = top_ups.start(account_id=_id(buyer), amount=amount, token=token, keyed=keyed(buyer), **more)
    assert isinstance(started, charging.StartedPayment)
    return started


def top_up(buyer, amount: int, token="tok_ok") -> Payment:
    """The payment of a top-up, advanced as far as possible now."""
    started = start_top_up(buyer, amount, token)
    stepping.advance(started.saga.id)
    return reloaded(started.payment)


def order_request(
    buyer, wanted, *, coupon="", points=0, token: str | None = None, key="", keep_on_decline=False
) -> OrderRequest:
    """A request to place an order, with a new key unless one is given."""
    return OrderRequest(
        account_id=_id(buyer),
        lines=tuple(_lines(wanted)),
        coupon_code=coupon,
        points_amount=points,
        token=token,
        keyed=keyed(buyer, schemas.placed_order_answer, key=key),
        by=journal.current_actor(),
        keep_on_decline=keep_on_decline,
    )


def place(buyer, wanted, **more) -> PlacedOrder:
    """Place a new order."""
    placed = checkout.place(order_request(buyer, wanted, **more))
    assert isinstance(placed, PlacedOrder)
    return placed


def order(buyer, wanted, **more) -> Order:
    """A new order, placed."""
    return place(buyer, wanted, **more).order


def request_of_newcomer(product, quantity=1, **wanted) -> OrderRequest:
    """The request of a new account for one product."""
    return order_request(account().id, {product: quantity}, **wanted)


def place_for_newcomer(product, quantity=1, **wanted) -> PlacedOrder:
    """Place the order of a new account for one product."""
    return place(account().id, {product: quantity}, **wanted)


def owner(placed: PlacedOrder) -> User:
    """The account of the order."""
    return User.objects.get(id=placed.order.account_id)


def advance(placed: PlacedOrder) -> Order:
    """Advance the order's saga as far as possible now, and return the order."""
    stepping.advance(placed.started.saga.id)
    return order_now(placed)


def buy(buyer, wanted, *, token="tok_ok", **more) -> Order:
    """Place a new order that is paid at once, advance its saga as far as possible now, and return it."""
    return advance(place(buyer, wanted, token=token, **more))


def cancel(placed: PlacedOrder):
    """Cancel the order as its owner."""
    cancellation.cancel(order_id=placed.order.id, account_id=placed.order.account_id)


def order_now(placed: PlacedOrder) -> Order:
    """The order as it stands now."""
    return Order.objects.get(id=placed.order.id)


def change_order(order, **columns):
    """Change these columns of the order in the database only."""
    Order.objects.filter(id=order.id).update(**columns)


def status_of(placed: PlacedOrder) -> str:
    """The status of the order now."""
    return state_of(placed.order.id)


def saga_of(placed: PlacedOrder) -> Saga:
    """The saga of its purchase, as it stands now."""
    return reloaded(placed.started.saga)


def sell(token="tok_ok", *, points=0, discount=0, units=2) -> PlacedOrder:
    """A paid order of two units at 500, or as many."""
    product, buyer = product_and_buyer(on_hand=5, price=500, points=1_000)
    coupon = coupon_of(buyer.id, discount_value=discount).code if discount else ""
    placed = place(buyer.id, {product: units}, token=token, points=points, coupon=coupon)
    assert advance(placed).status == "paid"
    return placed


def refund(
    order: Bought, wanted: Wanted | None = None, *, reason="It came broken.", restock=True
) -> StartedRefund:
    """Start a refund of these units, or of all that is left of the order."""
    call = keyed(staff_member().id, schemas.refund_answer)
    started = refunding.start_refund(
        order_id=_id(order), wanted=wanted and _lines(wanted), reason=reason, restock=restock, keyed=call
    )
    assert isinstance(started, StartedRefund)
    return started


def execute_refund(started: StartedRefund) -> Refund:
    """Advance the refund's saga as far as possible now, and return the refund."""
    stepping.advance(started.saga_id)
    return Refund.objects.select_related("order").get(id=started.refund.id)


def refunded(order: Bought, wanted: Wanted | None = None, **more) -> Refund:
    """A refund of these units, or of all that is left, advanced as far as possible now."""
    return execute_refund(refund(order, wanted, **more))


def settle_everything():
    """Run recovery, without waiting for leases and pauses, until every saga has ended."""
    wait_until(_nothing_is_left_after_a_pass, seconds=20)


def _nothing_is_left_after_a_pass():
    unfinished = Saga.objects.filter(ended_at__isnull=True)
    unfinished.update(leased_until=None)
    for saga_id in list(unfinished.values_list("id", flat=True)):
        stepping.advance(saga_id)
    return not unfinished.exists()


def state_of(order: Bought) -> str:
    return Order.objects.values_list("status", flat=True).get(id=_id(order))


def broken_laws(*names: str) -> list[LawReport]:
    """The laws that an audit of every app finds broken; with names, these by the audits that have them."""
    if not names:
        return [one for one in laws.audit() if not one.holds]
    audits = [(check, checked) for check, checked in laws.AUDITS if {*names} & {*checked}]
    reports = merge_reports(report for check, checked in audits for report in laws._run_check(check, checked))
    return [one for one in reports if one.law in names and not one.holds]


def kinds(outcomes: Iterable[Any]) -> Counter[str]:
    """The count of each kind of outcome: the code of a refusal, or the type."""
    return Counter(getattr(one, "code", type(one).__name__) for one in outcomes)


def reasons(outcomes: Iterable[Any]) -> Counter[str]:
    """As `kinds`, with the reason of a refusal that has one."""
    return Counter(
        str(one.extra.get("reason", one.code)) if isinstance(one, FirstcomeError) else type(one).__name__
        for one in outcomes
    )


def refusal_of(
    work: Callable[..., Any], *asked, kind: type[FirstcomeError] = FirstcomeError, **more
) -> FirstcomeError:
    with pytest.raises(kind) as refused:
        work(*asked, **more)
    return refused.value


def coupon_refusal(buyer, wanted, code: str) -> str:
    """Why the code is refused for such an order."""
    refused = refusal_of(place, buyer, wanted, coupon=code, kind=Rejected)
    assert refused.code == "coupon_not_usable"
    return str(refused.extra["reason"])


def buy_until(code: str, product, buyer) -> list[Any]:
    """The outcomes of orders of one unit, one after the other, until one is refused by this code."""
    outcomes: list[Any] = []
    while code not in kinds(outcomes[-1:]):
        try:
            outcomes.append(place(buyer, {product: 1}))
        except Rejected as error:
            outcomes.append(error)
    return outcomes
