"""A model of the shop in memory: the result of each action, and what each step of a saga changes.

It uses neither the database nor the code under test. Refusals are named by their codes.
"""

from dataclasses import dataclass, field
from itertools import chain

from orders.tests.things import (
    ASKING,
    DECLINED,
    NEVER_CHARGED,
    Approval,
    Campaign,
    Coupon,
    Order,
    Product,
    Refund,
    Subject,
    TopUp,
)

MOST_PAYMENTS = 5
MOST_GRANTED, MOST_GRANTED_IN_A_DAY = 500, 1_200


@dataclass
class Shop:
    """The whole model. Its methods are the actions; each returns the refusal's code, or nothing."""

    products: list[Product] = field(default_factory=list)
    wallets: dict[int, int] = field(default_factory=dict)
    granted: dict[int, int] = field(default_factory=dict)
    """What each operator has granted without an approval; the buyers are operators as well."""
    approvals: list[Approval] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)
    coupons: list[Coupon] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    top_ups: list[TopUp] = field(default_factory=list)

    @property
    def refunds(self) -> list[Refund]:
        return list(chain.from_iterable(order.refunds for order in self.orders))

    @property
    def charged(self) -> list[Order | TopUp]:
        """Everything with a payment."""
        return [*(order for order in self.orders if order.saga_id), *self.top_ups]

    @property
    def started(self) -> list[Subject]:
        """Everything with a saga, newest last."""
        return [*self.charged, *(one for one in self.refunds if one.saga_id)]

    def refusal_of_order(self, order) -> str:
        """The code by which this order is refused, or nothing."""
        items_amount = sum(product.price * count for product, count in order.counts.items())
        if any(count > product.available for product, count in order.counts.items()):
            return "insufficient_stock"
        if any(self._is_over_limit(order.account_id, *line) for line in order.counts.items()):
            return "purchase_limit_reached"
        if reason := order.coupon and self._reason_against(order.coupon, order):
            return f"coupon_not_usable: {reason}"
        order.total_amount = items_amount - (
            order.coupon.discount_amount(order.counts) if order.coupon else 0
        )
        if order.points_amount > order.total_amount:
            return "invalid"
        if order.points_amount > self.wallets[order.account_id]:
            return "insufficient_points"
        return "invalid" if order.token == "" and order.card_amount else ""

    def is_reserved(self, order) -> bool:
        """Whether unpaid orders hold some of a product that the order is short of."""
        return any(one.reserved for one, count in order.counts.items() if count > one.available)

    def expire_for(self, order):
        """Expire the lapsed orders of the refused order's account, and of its products."""
        for one in self.orders:
            is_concerned = one.account_id == order.account_id or one.counts.keys() & order.counts.keys()
            if one.status == "awaiting_payment" and one.is_lapsed and is_concerned:
                self._end(one, "expired")

    def _is_over_limit(self, account_id, product, count):
        """Whether the account would exceed the product's limit."""
        holding = [
            order
            for order in self.orders
            if order.account_id == account_id
            and (order.is_open or order.status in ("paid", "refunding", "refunded"))
        ]
        held = sum(order.left().get(product, 0) for order in holding)
        return product.limit_per_account is not None and held + count > product.limit_per_account

    def shared_coupon(self, campaign, account_id: int) -> Coupon:
        """The account's coupon of the campaign, or the one that it would get."""
        own = (one for one in self.coupons if (one.campaign, one.account_id) == (campaign, account_id))
        return next(own, Coupon(account_id, campaign=campaign, percent=33, status="new"))

    def _reason_against(self, coupon, order):
        """Why the order can't use the coupon, or nothing."""
        campaign, is_new = coupon.campaign or Campaign(""), coupon.status == "new"
        terms, counted = campaign.terms, coupon.counted_amount(order.counts)
        taken = [one.campaign for one in self.coupons].count(campaign)
        own = {one.status for one in self.orders if one.account_id == order.account_id}
        reasons = {
            "not_found": coupon.account_id != order.account_id,
            "sold_out": is_new and taken == terms.get("quantity"),
            "not_eligible": is_new and "eligible" in terms and order.account_id not in campaign.listed,
            coupon.status: coupon.status not in ("new", "issued"),
            "not_first_order": "first_order_only" in terms
            and own - {"payment_failed", "cancelled", "expired", "refunded"},
            "no_eligible_item": not counted,
            "below_minimum": counted < coupon.minimum_amount,
        }
        return next((reason for reason, is_against in reasons.items() if is_against), "")

    def place(self, order):
        for product, count in order.counts.items():
            product.reserved += count
        if order.coupon:
            if order.coupon.status == "new":
                self.coupons.append(order.coupon)
            order.coupon.status, order.coupon.order_id = "held", order.id
        if order.token is not None:
            order.status, order.payments = "paying", 1
        self.orders.append(order)

    def pay(self, order, token: str, *, is_kept: bool) -> str:
        if order.status != "awaiting_payment" or order.is_lapsed or order.payments == MOST_PAYMENTS:
            return "order_not_payable"
        if order.points_amount > self.wallets[order.account_id]:
            return "insufficient_points"
        if not token and order.card_amount:
            return "invalid"
        order.token, order.status = token, "paying"
        order.is_kept, order.decision, order.is_action_over = is_kept, "", False
        order.payments += 1
        return ""

    def cancel(self, order) -> str:
        if order.status == "cancelled":
            return ""
        if order.status != "awaiting_payment" or order.is_lapsed:
            return "order_not_cancellable"
        self._end(order, "cancelled")
        return ""

    def expire(self) -> int:
        """Expire the lapsed unpaid orders. Returns how many."""
        lapsed = [order for order in self.orders if order.status == "awaiting_payment" and order.is_lapsed]
        for order in lapsed:
            self._end(order, "expired")
        return len(lapsed)

    def adjust(self, product, delta: int) -> str:
        if product.available + delta < 0:
            return "insufficient_stock"
        product.on_hand += delta
        return ""

    def void(self, coupon) -> str:
        if coupon.status != "issued":
            return "coupon_not_voidable"
        coupon.status = "void"
        return ""

    def refusal_of_refund(self, order, counts: dict[Product, int] | None) -> str:
        """The code by which this refund is refused, or nothing; None means all that is left."""
        left, has_amount = order.left(), any(order.left_amounts())
        if order.status not in ("paid", "refunding") or not (left or has_amount):
            return "nothing_to_refund"
        if any(count > left.get(product, 0) for product, count in (counts or {}).items()):
            return "refund_exceeds_order"
        return "" if has_amount or not order.total_amount else "nothing_to_refund"

    def refund(self, refund):
        refund.order.refunds.append(refund)
        refund.order.status = "refunding"

    def book(self, order, refund_id, amount: int):
        """Apply a refund that the shop has booked as made at the gateway, where it must have been made."""
        assert amount <= order.unbooked_amount, f"{amount} is booked, {order.unbooked_amount} was made there"
        is_rest = sum(one.amount for one in order.refunds) + amount >= order.total_amount
        counts = order.left() if is_rest else {}
        order.refunds.append(Refund(order, refund_id, counts, False, amount, 0, None, is_settled=True))
        order.story.append("order.refunded")

    def update_refunded(self):
        """Apply what the refunds so far make of their orders."""
        for order in self.orders:
            if order.refunds and order.status in ("paid", "refunding"):
                is_paid = order.left() or order.refunded_amount < order.total_amount
                is_settled = all(one.is_settled for one in order.refunds)
                order.status = "refunding" if not is_settled else "paid" if is_paid else "refunded"
                if order.status == "refunded" and order.coupon:
                    order.coupon.give_back()

    def give_back_top_up(self, top_up, amount: int):
        """The gateway's clerk refunds a part of it: its points are taken, as far as they are there."""
        top_up.given_back += amount
        self.wallets[top_up.account_id] -= min(amount, self.wallets[top_up.account_id])

    def grant(self, operator_id: int, account_id: int, amount: int) -> str:
        if operator_id == account_id:
            return "own_account"
        granted = self.granted[operator_id] + amount
        if amount > MOST_GRANTED or granted > MOST_GRANTED_IN_A_DAY:
            return "approval_required"
        self.granted[operator_id] = granted
        self.wallets[account_id] += amount
        return ""

    def refusal_of_decision(self, approval, operator_id: int, *, is_approved: bool) -> str:
        """The code by which the operator may not decide so, or nothing."""
        if approval.is_decided:
            return "approval_decided"
        own = {approval.account_id: "own_account", approval.asker_id: "own_approval"}
        return own.get(operator_id, "") if is_approved else ""

    def decide(self, approval, *, is_approved: bool):
        approval.is_decided = True
        if is_approved:
            self.wallets[approval.account_id] += approval.amount
            self.force("force_complete", approval.subject)

    def outcomes_of_forcing(self, act: str, subject) -> set[str]:
        """The codes of its possible refusals, or nothing for success, while its saga is not stuck."""
        is_local = {"step_not_hanging", "step_is_local"}
        match act, subject.saga_status:
            case "retry", status:
                return {""} if status == "running" else {"", "saga_ended"}
            case "force_compensate", status:
                is_reversible = status != "done" and not isinstance(subject, Refund)
                return {"" if is_reversible else "saga_not_reversible"}
            case _, "running":
                return is_local | ({"saga_being_undone"} if not isinstance(subject, Refund) else set())
            case _, "done":
                return {"", *is_local}
        return {"saga_being_undone"}

    def force(self, act: str, subject: Subject | None):
        """Apply what an operator has forced."""
        if act == "force_compensate" and subject and subject.saga_status == "running":
            assert not isinstance(subject, Refund)
            subject.is_forced = True
        if act == "force_complete" and isinstance(subject, Refund):
            subject.is_confirmed = True

    def reach(self, subject, point: str):
        """Apply what the saga of `subject` has done when it passes this point."""
        match subject, point:
            case Order(), "debit_balance do":
                self._debit(subject)
            case Order(), "settle do":
                self._settle(subject)
            case Order(), "ended" if subject.status == "paying":
                self._fail(subject)
            case Refund(), "settle_refund do":
                self._give_back(subject)
            case TopUp(), "credit_wallet do":
                assert not subject.is_forced
                self.wallets[subject.account_id] += subject.amount
                assert subject.token not in NEVER_CHARGED
                subject.status = "succeeded"
            case TopUp(), "ended" if subject.status != "succeeded":
                is_ended_by_us = subject.is_late or subject.is_action_over or subject.is_forced
                assert is_ended_by_us or subject.token in DECLINED
                subject.status = "failed"

    def _debit(self, order):
        if self.wallets[order.account_id] < order.points_amount:
            order.is_short_of_points = True
        else:
            self.wallets[order.account_id] -= order.points_amount
            order.holds_points = True

    def _settle(self, order):
        is_charged = not order.card_amount or order.token not in NEVER_CHARGED
        assert order.token != ASKING or order.decision == "approve" or not order.card_amount
        assert (order.status, is_charged) == ("paying", True)
        assert not (order.is_short_of_points or order.is_forced)
        for product, count in order.counts.items():
            product.reserved -= count
            product.on_hand -= count
        if order.coupon:
            order.coupon.status = "redeemed"
        order.holds_points = False
        order.become("paid")

    def _fail(self, order):
        is_refused = order.is_card_refused
        is_ended_by_us = order.is_late or order.is_action_over or order.is_forced
        assert is_refused or is_ended_by_us or order.is_short_of_points
        if order.holds_points:
            self.wallets[order.account_id] += order.points_amount
            order.holds_points = False
        if is_refused and order.is_kept and not order.is_short_of_points:
            order.status = "awaiting_payment"
            order.story.append("order.kept")
        else:
            self._end(order, "payment_failed")
        order.is_short_of_points = False

    @staticmethod
    def _end(order, status):
        """End the unpaid order, and release all that it holds."""
        for product, count in order.counts.items():
            product.reserved -= count
        if order.coupon:
            order.coupon.give_back()
        order.become(status)

    def _give_back(self, refund):
        order = refund.order
        refund.is_settled = True
        order.story.append("order.refunded")
        self.wallets[order.account_id] += refund.points_amount
        for product, count in refund.counts.items() if refund.restock else ():
            product.on_hand += count
