"""Placing orders: stock, coupon and amounts decided in one transaction, shared by a batch of orders.

All lines or none, and exactly the stock there is. Orders that arrive while a batch is being decided
wait for the next one (`shop.group_commit`); locks are taken in the project's one order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from coupons import holding
from coupons.models import Coupon
from inventory import reservations
from inventory.models import Product
from inventory.reservations import Line
from orders import amounts, purchase
from orders.models import Order, OrderLine
from orders.purchase import Started
from payments import ledger
from shop import idempotency, journal
from shop.errors import FirstcomeError, Rejected, invalid_field
from shop.group_commit import Lane
from shop.idempotency import Effect, Keyed, Replay
from shop.journal import Who


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


@dataclass(frozen=True, slots=True)
class Placed:
    """A new order with its lines; `started` when it is being paid at once."""

    order: Order
    lines: list[OrderLine]
    started: Started | None = None


Outcome = Placed | Replay | FirstcomeError


def place(wish: Wish) -> Placed | Replay:
    """Place an order: its stock is reserved, its coupon held, its answer recorded under its key.

    Durable when it returns; repeating the key gives a `Replay`. Raises `NotFound` `product_not_found`,
    `Rejected` `insufficient_stock`, `coupon_not_usable` or `insufficient_points`, `Invalid` when the
    points exceed the total or a card is missing, `KeyReused`, `Overloaded`.
    """
    return _lane.submit(wish)


def decide(wishes: Sequence[Wish]) -> list[Outcome]:
    """Decide a batch in order of arrival, then write all of it: the same few statements for any number."""
    stock = reservations.lock({line.product_id for wish in wishes for line in wish.lines})
    coupons = holding.usable({wish.coupon_code for wish in wishes if wish.coupon_code})
    seen = idempotency.seen([wish.keyed for wish in wishes])
    balances = ledger.balances({wish.account_id for wish in wishes if wish.points_amount})
    now = timezone.now()
    effects: dict[tuple[int, str], Effect] = {}
    outcomes: list[Outcome] = []
    for wish in wishes:
        name = wish.keyed.name
        if name in seen:
            outcomes.append(idempotency.told(seen[name], wish.keyed))
        elif name in effects:
            outcomes.append(effects[name].told(wish.keyed))
        else:
            outcome = _decide_one(wish, stock, coupons, balances, now)
            outcomes.append(outcome)
            if isinstance(outcome, Placed):
                effects[name] = Effect(wish.keyed, outcome, reference=outcome.order.id)
    _write(list(effects.values()), stock, coupons)
    return outcomes


def _decide_one(
    wish: Wish,
    stock: dict[int, Product],
    coupons: dict[str, Coupon],
    balances: dict[int, int],
    now: datetime,
) -> Placed | FirstcomeError:
    try:
        reservations.check(stock, wish.lines)
        placed = _priced(wish, stock, coupons, now)
        _check_means(wish, placed.order, balances)
    except FirstcomeError as error:
        return error
    reservations.take(stock, wish.lines)
    if wish.coupon_code:
        coupons[wish.coupon_code].status = Coupon.Status.HELD
    _note(placed.order, wish, stock)
    return placed


def _note(order: Order, wish: Wish, stock: dict[int, Product]) -> None:
    reserved = [
        {
            "product": line.product_id,
            "before": stock[line.product_id].reserved - line.quantity,
            "after": stock[line.product_id].reserved,
        }
        for line in wish.lines
    ]
    journal.note(
        what="order.placed",
        subject=f"order {order.id}",
        order_id=order.id,
        after={"status": order.status, "total_amount": order.total_amount, "reserved": reserved},
        at=order.placed_at,
        by=wish.by,
    )


def _priced(wish: Wish, stock: dict[int, Product], coupons: dict[str, Coupon], now: datetime) -> Placed:
    """The order and its lines with every amount, unsaved."""
    line_amounts = [stock[line.product_id].price * line.quantity for line in wish.lines]
    items_amount, discount_amount = sum(line_amounts), 0
    if wish.coupon_code:
        discount_amount = holding.discount_amount(
            coupons.get(wish.coupon_code), account_id=wish.account_id, items_amount=items_amount, now=now
        )
    total_amount = items_amount - discount_amount
    if wish.points_amount > total_amount:
        raise invalid_field("points_amount", "over_total", f"The order comes to {total_amount} only.")
    order = Order(
        account_id=wish.account_id,
        status=Order.Status.AWAITING_PAYMENT if wish.token is None else Order.Status.PAYING,
        items_amount=items_amount,
        discount_amount=discount_amount,
        points_amount=wish.points_amount,
        card_amount=total_amount - wish.points_amount,
        total_amount=total_amount,
        currency=settings.CURRENCY,
        coupon_code=wish.coupon_code,
        placed_at=now,
        expires_at=now + timedelta(seconds=settings.ORDER_HOLD_SECONDS),
    )
    lines = [
        OrderLine(
            order=order,
            product_id=line.product_id,
            sku=stock[line.product_id].sku,
            name=stock[line.product_id].name,
            quantity=line.quantity,
            unit_price=stock[line.product_id].price,
            line_amount=line_amount,
            discount_amount=share,
        )
        for line, line_amount, share in zip(
            wish.lines, line_amounts, amounts.shares(discount_amount, line_amounts), strict=True
        )
    ]
    if wish.token is None:
        return Placed(order, lines)
    return Placed(order, lines, purchase.new(order, token=wish.token, by=wish.by))


def _check_means(wish: Wish, order: Order, balances: dict[int, int]) -> None:
    """Whether the order can be paid as wished, as far as one can tell before it is."""
    if wish.points_amount > balances.get(wish.account_id, 0):
        raise Rejected("The wallet holds fewer points than the order is to use.", code="insufficient_points")
    if wish.token == "" and order.card_amount:
        raise invalid_field("payment.token", "required", "A card is needed for what points don't cover.")


def _write(effects: Sequence[Effect], stock: dict[int, Product], coupons: dict[str, Coupon]) -> None:
    placed: list[Placed] = [effect.outcome for effect in effects]
    if not placed:
        return
    reservations.save(stock.values())
    Order.objects.bulk_create([one.order for one in placed])
    OrderLine.objects.bulk_create([line for one in placed for line in one.lines])
    holding.hold({coupons[one.order.coupon_code]: one.order.id for one in placed if one.order.coupon_code})
    purchase.save([one.started for one in placed if one.started])
    idempotency.record(effects)


_lane: Lane[Wish, Placed | Replay] = Lane(decide)
