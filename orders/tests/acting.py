"""Performs actions on the real shop and its model together: both must refuse the same, by the same code."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.utils import timezone

from accounts.operating import approvals
from coupons import campaigns, issuing
from coupons.codes import eligible_accounts
from foundation import journal
from foundation.approval_models import Approval
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import Answer, Replay
from foundation.journal import Actor, ActorContext
from inventory import adjustments
from inventory.availability import Line
from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Saga
from orders.payment import gateway_events, gateway_lookups, purchase, refunding
from orders.placement import checkout
from orders.saga import operator_actions
from orders.tests import buying, owners, stepping, things
from payments import points_grants, webhooks
from payments.gateways import gateway
from payments.models import Payment, WebhookEvent
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests import events

SAID_OF_STUCK = {
    *("charge_not_found", "gateway_disagrees", "reference_differs", "saga_being_undone", "saga_changed"),
    *("saga_ended", "saga_not_reversible", "step_is_local", "step_not_hanging", "unavailable"),
}
"""How a forced step may be refused while its saga is stuck: as the gateway says, or the saga has gone on."""


HELD = {
    *("insufficient_stock", "purchase_limit_reached"),
    *("coupon_not_usable: held", "coupon_not_usable: not_first_order"),
}
"""Why an order is refused that lapsed orders may be the cause of."""


def outcome(action: Callable[[], Any]):
    """What the action returns, or the code of its refusal, with the reason where a coupon has one."""
    try:
        return action()
    except FirstcomeError as error:
        reason = error.extra.get("reason") if error.code == "coupon_not_usable" else None
        return f"{error.code}: {reason}" if reason else error.code


def _answered(outcome):
    return Answer(200, b"{}")


def open_shop(shop):
    """Three products, one with a limit per account, shared codes, two buyers with points and an operator.

    The buyers are operators as well.
    """
    for price, on_hand, limit in ((500, 12, None), (333, 20, 4), (1_000, 8, None)):
        row = ProductFactory(price=price, on_hand=on_hand, limit_per_account=limit)
        shop.products.append(things.Product(row.id, price, on_hand, limit))
    shop.wallets = {buying.account(points=1_000).id: 1_000 for _ in range(2)}
    shop.granted = dict.fromkeys([*shop.wallets, buying.account().id], 0)
    User.objects.filter(id__in=shop.granted).update(is_staff=True, is_superuser=True)
    shop.campaigns = [
        things.Campaign("TO-ONE", {"quantity": 1}),
        things.Campaign("TO-FIRST-ORDERS", {"first_order_only": True}),
        things.Campaign("TO-LISTED", {"eligible": "listed"}, list(shop.wallets)[:1]),
        things.Campaign("TO-PRODUCT", {"products": [shop.products[0].id]}),
    ]
    discount: Any = {"discount_type": "percent", "discount_value": 33, "code_source": "shared"}
    for one in shop.campaigns:
        terms = {"name": one.code, "shared_code": one.code, "quantity": 9} | discount | one.terms
        eligible_accounts.add(campaign_id=campaigns.create(**terms).pk, account_ids=one.listed)


def issue_coupon(shop, account_id: int, *, percent: int):
    """Issue a coupon of `percent`; for 0, of a fixed amount off a minimum order."""
    terms = {"percent": percent} if percent else {"amount": 150, "minimum_amount": 400}
    coupon = things.Coupon(account_id, **terms)
    worth = {"discount_type": "percent" if percent else "amount", "discount_value": percent or coupon.amount}
    coupon.code = buying.coupon_code(account_id, **worth, min_order_amount=coupon.minimum_amount)
    shop.coupons.append(coupon)


def void_coupon(shop, coupon):
    expected = shop.void(coupon)
    result = outcome(lambda: issuing.void(code=coupon.code, reason="a mistake"))
    assert result == expected or not expected


def adjust(shop, product, delta: int):
    expected = shop.adjust(product, delta)
    result = outcome(lambda: adjustments.adjust(product_id=product.id, delta=delta, reason="counted"))
    assert result == expected or not expected


def place(shop, order) -> checkout.OrderRequest | None:
    """Place the order; returns its request if it was not refused."""
    coupon = order.coupon or things.Coupon(order.account_id)
    is_shared = coupon.campaign and coupon.account_id == order.account_id
    code = coupon.campaign.code if is_shared else coupon.code
    paid: Any = {"points": order.points_amount, "token": order.token, "keep_on_decline": order.is_kept}
    order_request = buying.order_request(order.account_id, order.counts, coupon=code, **paid)
    expected = shop.refusal_of_order(order)
    if expected in HELD and (expected != "insufficient_stock" or shop.is_reserved(order)):
        shop.expire_for(order)
        expected = shop.refusal_of_order(order)
    result = outcome(lambda: checkout.place(order_request))
    if expected:
        assert result == expected
        return None
    order.id = result.order.id
    coupon.code = result.order.coupon_code
    if result.started:
        order.saga_id, order.payment_id = result.started.saga.id, result.started.payment.id
    shop.place(order)
    return order_request


def place_again(order_request):
    """Repeat the call with the same key: it has no second effect."""
    assert isinstance(checkout.place(order_request), Replay)


def pay(shop, order, token: str, *, is_kept=False):
    expected = shop.pay(order, token, is_kept=is_kept)
    of: Any = {"account_id": order.account_id, "order_id": order.id, "keyed": buying.keyed(order.account_id)}
    result = outcome(lambda: purchase.pay(**of, token=token, keep_on_decline=is_kept))
    if expected:
        assert result == expected
    else:
        order.saga_id, order.payment_id = result.saga.id, result.payment.id


def cancel(shop, order):
    expected = shop.cancel(order)
    result = outcome(lambda: cancellation.cancel(order_id=order.id, account_id=order.account_id))
    assert result == expected if expected else result.status == order.status


def lapse(order):
    """Let the order's time to pay pass."""
    order.is_lapsed = True
    buying.change_order(order, expires_at=timezone.now())


def refund(shop, order, wanted: dict[things.Product, int] | None, *, restock: bool):
    """Refund these units of the order; None refunds all that is left."""
    expected = shop.refusal_of_refund(order, wanted)
    lines = wanted and [Line(product.id, count) for product, count in wanted.items()]
    of: Any = {"order_id": order.id, "wanted": lines, "keyed": buying.keyed(order.account_id)}
    result = outcome(lambda: refunding.start_refund(**of, reason="they asked", restock=restock))
    if expected:
        assert result == expected
        return
    row, counts = result.refund, wanted or order.left()
    new_refund = things.Refund(order, row.id, counts, restock, row.amount, row.points_amount, result.saga_id)
    new_refund.assert_fair()
    shop.refund(new_refund)


def top_up(listener, one: things.TopUp):
    started = buying.start_top_up(one.account_id, one.amount, one.token)
    one.payment_id, one.saga_id = started.payment.id, started.saga.id
    listener.shop.top_ups.append(one)
    stepping.advance(one.saga_id)


def drive(listener, subject, *, points: int | None = None):
    """Advance its saga as far as possible, or for so many failpoints; the previous lease has lapsed."""
    Saga.objects.filter(id=subject.saga_id).update(leased_until=None)
    with listener.deadly(points):
        stepping.advance(subject.saga_id)


def sweep(shop, *, is_later: bool):
    """Run the tasks of beat: now, or after every pause and lease."""
    now = timezone.now()
    if is_later:
        Saga.objects.filter(ended_at=None).update(next_attempt_at=now, leased_until=None)
        WebhookEvent.objects.filter(handled_at=None).update(next_attempt_at=now)
    assert cancellation.expire_due() == shop.expire()
    for saga in stepping.due(limit=100):
        stepping.advance(saga.id)
    for event_id in webhooks.dequeue_due(limit=100):
        gateway_events.handle(event_id)


def give_up(subject):
    """Let the deadline of its saga pass."""
    subject.is_late = True
    Saga.objects.filter(id=subject.saga_id).update(deadline_at=timezone.now())


def decide(order, decision: str):
    """The card's owner presses a button of their page, if it is open; the first decision counts."""
    payment = Payment.objects.get(id=order.payment_id)
    if payment.requires_action and not order.decision:
        order.decision = decision
        owners.decide(payment, decision)


def let_action_end(subject: things.Order | things.TopUp):
    """Let the time of the card's owner pass, if they were asked."""
    if subject.token == things.ASKING and Payment.objects.get(id=subject.payment_id).requires_action:
        subject.is_action_over = True
        owners.let_action_end(subject.payment_id)


def _operator(operator_id):
    return ActorContext(Actor.STAFF, operator_id, f"operator {operator_id}")


def force(shop, subject, operator_id: int, act: str, **more: str):
    """An operator retries its saga, has it compensated, or records the step at which it is stuck as done."""
    rows = Saga.objects.filter(id=subject.saga_id)
    rows.update(leased_until=None)
    is_stuck = rows.filter(state=Saga.State.STUCK).exists()
    of: Any = {"saga_id": subject.saga_id, "reason": "they called", "by": _operator(operator_id)}
    result = outcome(lambda: getattr(operator_actions, act)(**of, **more))
    code, allowed = result if isinstance(result, str) else "", {"own_account"}
    if subject.account_id != operator_id:
        allowed = shop.outcomes_of_forcing(act, subject) | ({"", *SAID_OF_STUCK} if is_stuck else set())
    elif is_stuck:
        allowed |= SAID_OF_STUCK
    assert code in allowed, f"{act} of {subject}: {code or 'done'}, not {allowed}"
    if isinstance(result, Approval):
        if result.id not in [one.id for one in shop.approvals]:
            asked = things.Approval(result.id, operator_id, subject.account_id, subject=subject)
            shop.approvals.append(asked)
    elif not code:
        shop.force(act, subject)


def grant(shop, operator_id: int, account_id: int, amount: int):
    """An operator grants points, or asks for an approval where the model says that it takes one."""
    expected = shop.grant(operator_id, account_id, amount)
    of: Any = {"user_id": account_id, "amount": amount, "reason": "they called"}
    with journal.acting(_operator(operator_id)):
        result = outcome(lambda: points_grants.grant(**of, keyed=buying.keyed(operator_id, _answered)))
        code = result if isinstance(result, str) else ""
        assert code == expected, f"a grant of {amount} by {operator_id} to {account_id}: {code or 'done'}"
        if expected == "approval_required":
            asked = points_grants.ask_to_grant(**of, keyed=buying.keyed(operator_id, _answered))
            assert isinstance(asked, Approval)
            if asked.id not in [one.id for one in shop.approvals]:
                shop.approvals.append(things.Approval(asked.id, operator_id, account_id, amount))


def decide_approval(shop, approval, operator_id: int, act: str):
    """An operator approves or refuses what was asked for; a step that is forced by it may not be left."""
    is_approved = act == "approve"
    expected = shop.refusal_of_decision(approval, operator_id, is_approved=is_approved)
    with journal.acting(_operator(operator_id)):
        result = outcome(lambda: getattr(approvals, act)(approval_id=approval.id, reason="looked into it"))
    code = result if isinstance(result, str) else ""
    is_forced = is_approved and approval.subject and not expected
    assert code in ({"", *SAID_OF_STUCK} if is_forced else {expected}), f"{act} of {approval}: {code}"
    if not code:
        shop.decide(approval, is_approved=is_approved)


def _charge_of(subject):
    [charge] = gateway().charges(key=Payment.objects.get(id=subject.payment_id).charge_key)
    return charge


def give_back(shop, simulator, subject: things.Order | things.TopUp, amount: int):
    """A clerk refunds a part of its charge on the gateway's own page, at most what is left of it."""
    charge, key = _charge_of(subject), f"clerk-{uuid4()}"
    if amount := min(amount, charge.kept_amount):
        # The refunds of some cards fail at first.
        while simulator.post("/refunds", {"charge": charge.reference, "amount": amount}, key=key)[0] != 201:
            pass
        if isinstance(subject, things.TopUp):
            shop.give_back_top_up(subject, amount)
        else:
            subject.given_back += amount


def dispute(simulator, order, amount: int):
    """The card's owner disputes a part of the charge, at most what is left of it."""
    charge = _charge_of(order)
    if amount := min(amount, charge.kept_amount):
        wanted = {"charge": charge.reference, "amount": amount}
        status, opened = simulator.post("/disputes", wanted, key=f"owner-{uuid4()}")
        assert status == 201
        order.disputes.append(things.Dispute(opened["id"], amount))


def close_dispute(simulator, order, end: str):
    """The bank of the card's owner decides the first open dispute of the charge."""
    if one := next((one for one in order.disputes if one.status == "open"), None):
        assert simulator.post(f"/disputes/{one.reference}/close", {"status": end})[0] == 200
        one.status = end


def learn(shop, subject: things.Order | things.TopUp, way: str):
    """Have the shop learn what became of its charge at the gateway, by an event or otherwise."""
    match way:
        case "look-up":
            call = buying.keyed(subject.account_id, _answered)
            gateway_lookups.look_up(payment_id=subject.payment_id, reason="they called", keyed=call)
        case "reconciliation":
            reconciling.reconcile(fix=Fix.OURS)
        case "event":
            dispute = next(iter(getattr(subject, "disputes", ())), None)
            type = "charge.refunded" if not dispute else "charge.disputed"
            type = "dispute.closed" if dispute and dispute.status != "open" else type
            receive_event(subject, number=uuid4().hex, type=type)
            handle(WebhookEvent.objects.latest("id"))


def receive_event(subject: things.Order | things.TopUp, *, number: int | str, type: str):
    """Receive a webhook about its charge, true or not, new or repeated; it is handled later."""
    key = Payment.objects.get(id=subject.payment_id).charge_key
    events.take(type=type, key=key, id=f"evt_{number}")


def handle(event: WebhookEvent):
    """Handle the event, also repeatedly; previous leases have lapsed."""
    Saga.objects.filter(ended_at=None).update(leased_until=None)
    gateway_events.handle(event.id)
