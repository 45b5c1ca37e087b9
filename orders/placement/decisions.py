"""Deciding orders: stock, coupon and amounts, for one or for a batch, within one transaction.

All lines or none, and exactly the stock there is. Every strategy ends here; they differ in who shares the
transaction, and in whether what it reads is locked. Locks are taken in the project's one order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError
from uuid_utils.compat import uuid7

from coupons import redemption
from coupons.models import Coupon
from inventory import reservations
from inventory.reservations import Line
from inventory.stock import Stock
from orders import order_rows, pricing
from orders.models import Order
from orders.order_rows import NewLine, NewOrder
from orders.payment import purchase
from orders.payment.purchase import Started
from orders.placement import limits
from orders.placement.limits import Holdings
from payments import ledger
from shop import clock
from shop.accounts import accounts
from shop.db import transactions
from shop.db.stuck_rows import Row
from shop.errors import FirstcomeError, Rejected, invalid_field
from shop.events import journal
from shop.events.journal import Who
from shop.idempotency import claims, recorded_answers
from shop.idempotency.recorded_answers import Answer, Effect, Keyed, Replay


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to buy. `token` is the card to charge; None means to pay later."""

    account_id: int
    lines: tuple[Line, ...]
    coupon_code: str
    points_amount: int
    token: str | None
    keyed: Keyed
    by: Who


@dataclass(slots=True)
class Placed:
    """A new order with its lines; `started` when it is being paid at once.

    `answer` is what is recorded for it, once that is decided.
    """

    order: NewOrder
    lines: list[NewLine]
    started: Started | None = None
    answer: Answer | None = None


AWAITING_PAYMENT, PAYING = Order.Status.AWAITING_PAYMENT.value, Order.Status.PAYING.value
Outcome = Placed | Replay | FirstcomeError


@dataclass(frozen=True, slots=True)
class Reading:
    """What is locked when it is read. Of the rest the writes find out whether somebody has changed it."""

    stock: bool
    coupons: bool


LOCKED, UNLOCKED = Reading(stock=True, coupons=True), Reading(stock=False, coupons=False)
# Many want the same stock, and hardly ever two the same coupon.
STOCK_LOCKED = Reading(stock=True, coupons=False)


def together(wishes: Sequence[Wish]) -> list[Outcome]:
    """Decide a batch in a transaction of its own, but for those whose twins are in flight elsewhere."""
    refusals = claims.refusals([wish.keyed.claim for wish in wishes])
    firsts = [wish for wish, refusal in zip(wishes, refusals, strict=True) if not refusal]
    outcomes = iter(_decided(firsts) if firsts else [])
    return [refusal or next(outcomes) for refusal in refusals]


def locked_rows(wish: Wish) -> Iterator[Row]:
    """The rows that the order's transaction locks, which others may keep locked."""
    for line in wish.lines:
        yield reservations.locked_row(line.product_id)
    if wish.coupon_code:
        yield redemption.locked_row(wish.coupon_code)
    yield accounts.referenced_row(wish.account_id)


def _decided(wishes: Sequence[Wish]) -> list[Outcome]:
    try:
        return transactions.run_batch(lambda: decide(wishes, reading=STOCK_LOCKED))
    except transactions.ChangedMeanwhile:
        # Somebody elsewhere took one of the coupons.
        return transactions.run_batch(lambda: decide(wishes, reading=LOCKED))


def alone(wish: Wish, *, reading: Reading) -> Placed | Replay:
    """Decide one order in a transaction of its own; raises its refusal, and what `decide` raises."""
    try:
        [outcome] = transactions.run(lambda: decide([wish], reading=reading), transactions.KEYED)
    except IntegrityError:
        # A call with the same key slipped in between the look and the insert: look again.
        [outcome] = transactions.run(lambda: decide([wish], reading=reading), transactions.KEYED)
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def decide(wishes: Sequence[Wish], *, reading: Reading = LOCKED) -> list[Outcome]:
    """Decide a batch in order of arrival, then write all of it: the same few statements for any number.

    Raises `transactions.ChangedMeanwhile` when something that was read without a lock was changed since.
    """
    product_ids = {line.product_id for wish in wishes for line in wish.lines}
    stock = reservations.lock(product_ids) if reading.stock else reservations.look(product_ids)
    codes = {wish.coupon_code for wish in wishes if wish.coupon_code}
    coupons = redemption.usable(codes) if reading.coupons else redemption.look(codes)
    # After the stock, whose lock or version makes it exact. Before the keys: what a twin that was faster
    # holds must not refuse its repeat.
    holdings = limits.read_holdings([(wish.account_id, wish.lines) for wish in wishes], stock)
    seen = recorded_answers.seen([wish.keyed for wish in wishes])
    spenders = {wish.account_id for wish in wishes if wish.points_amount}
    balances = ledger.balances(spenders) if spenders else {}
    now = clock.now()
    effects: dict[tuple[int, str], Effect] = {}
    outcomes: list[Outcome] = []
    for wish in wishes:
        name = wish.keyed.name
        if name in seen:
            outcomes.append(recorded_answers.told(seen[name], wish.keyed))
        elif name in effects:
            outcomes.append(effects[name].told(wish.keyed))
        else:
            outcome = _decide_one(wish, stock, holdings, coupons, balances, now)
            outcomes.append(outcome)
            if isinstance(outcome, Placed):
                effects[name] = Effect(wish.keyed, outcome, reference=outcome.order.id)
                outcome.answer = effects[name].answer
    _write(list(effects.values()), stock, coupons, is_locked=reading.stock)
    return outcomes


def _decide_one(
    wish: Wish,
    stock: dict[int, Stock],
    holdings: Holdings,
    coupons: dict[str, Coupon],
    balances: dict[int, int],
    now: datetime,
) -> Placed | FirstcomeError:
    try:
        reservations.check(stock, wish.lines)
        limits.check(holdings[wish.account_id], wish.lines, stock)
        placed = _priced(wish, stock, coupons, now)
        _check_means(wish, placed.order, balances)
    except FirstcomeError as error:
        return error
    reservations.take_checked(stock, wish.lines)
    limits.add(holdings[wish.account_id], wish.lines)
    if wish.coupon_code:
        redemption.take(coupons[wish.coupon_code], order_id=placed.order.id, by=wish.by)
    _note(placed.order, wish, stock)
    return placed


def _note(order: NewOrder, wish: Wish, stock: dict[int, Stock]) -> None:
    reserved = []
    for line in wish.lines:
        product = stock[line.product_id]
        after = product.reserved + product.newly_reserved
        reserved.append({"product": product.id, "before": after - line.quantity, "after": after})
    journal.note(
        what="order.placed",
        subject=f"order {order.id}",
        order_id=order.id,
        after={"status": order.status, "total_amount": order.total_amount, "reserved": reserved},
        at=order.placed_at,
        by=wish.by,
    )


def _priced(wish: Wish, stock: dict[int, Stock], coupons: dict[str, Coupon], now: datetime) -> Placed:
    """The order and its lines with every amount, unsaved."""
    line_amounts = [stock[line.product_id].price * line.quantity for line in wish.lines]
    items_amount, discount_amount = sum(line_amounts), 0
    if wish.coupon_code:
        discount_amount = redemption.discount_amount(
            coupons.get(wish.coupon_code), account_id=wish.account_id, items_amount=items_amount, now=now
        )
    total_amount = items_amount - discount_amount
    if wish.points_amount > total_amount:
        raise invalid_field("points_amount", "over_total", f"The order comes to {total_amount} only.")
    order = NewOrder(
        id=uuid7(),
        account_id=wish.account_id,
        status=AWAITING_PAYMENT if wish.token is None else PAYING,
        items_amount=items_amount,
        discount_amount=discount_amount,
        points_amount=wish.points_amount,
        card_amount=total_amount - wish.points_amount,
        total_amount=total_amount,
        currency=settings.CURRENCY,
        coupon_code=wish.coupon_code,
        units=sum([line.quantity for line in wish.lines]),
        placed_at=now,
        expires_at=now + timedelta(seconds=settings.ORDER_HOLD_SECONDS),
    )
    lines = [
        NewLine(
            order.id,
            line.product_id,
            stock[line.product_id].sku,
            stock[line.product_id].name,
            quantity=line.quantity,
            unit_price=stock[line.product_id].price,
            line_amount=line_amount,
            discount_amount=share,
            limit_per_account=stock[line.product_id].limit_per_account,
        )
        for line, line_amount, share in zip(
            wish.lines, line_amounts, pricing.shares(discount_amount, line_amounts), strict=True
        )
    ]
    if wish.token is None:
        return Placed(order, lines)
    return Placed(order, lines, purchase.new(order, token=wish.token, by=wish.by))


def _check_means(wish: Wish, order: NewOrder, balances: dict[int, int]) -> None:
    """Whether the order can be paid as wished, as far as one can tell before it is."""
    if wish.points_amount > balances.get(wish.account_id, 0):
        raise Rejected("The wallet holds fewer points than the order is to use.", code="insufficient_points")
    if wish.token == "" and order.card_amount:
        raise invalid_field("payment.token", "required", "A card is needed for what points don't cover.")


def _write(
    effects: Sequence[Effect], stock: dict[int, Stock], coupons: dict[str, Coupon], *, is_locked: bool
) -> None:
    placed: list[Placed] = [effect.outcome for effect in effects]
    if not placed:
        return
    reservations.save(stock, is_locked=is_locked)
    order_rows.write([one.order for one in placed], [line for one in placed for line in one.lines])
    redemption.hold({coupons[one.order.coupon_code]: one.order.id for one in placed if one.order.coupon_code})
    purchase.save([one.started for one in placed if one.started])
    recorded_answers.record(effects)
