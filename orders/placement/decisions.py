"""Decides orders: stock, coupon and amounts, for one order or a batch, within one transaction.

Every strategy calls this module. Strategies differ in which requests share the transaction, and in what they
lock when they read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, IntegrityError
from uuid_utils.compat import uuid7

from accounts import accounts
from coupons import coupon_requests, redemption
from coupons.coupon_requests import BatchCoupons, CouponRequest
from coupons.models import Coupon
from foundation import clock, journal
from foundation.db import open_transaction, transactions
from foundation.db.stuck_rows import Row
from foundation.errors import FirstcomeError, Held, Unavailable
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Answer, Effect, KeyedCall, Replay
from foundation.journal import ActorContext
from inventory import availability, rows as stock_rows, stock_levels
from inventory.availability import Line, Stock
from orders import cancellation, limits, order_events, pricing, rows as order_rows
from orders.limits import FirstOrders, Holdings, Payer
from orders.metrics import counters
from orders.order_states import NewLine, OrderRow, Status
from orders.payment import charging, purchase, rows as declined_rows
from orders.payment.charging import StartedPayment
from orders.placement import own_terms, rows as placement_rows
from orders.placement.own_terms import OwnTerms
from orders.rows import Numbers
from payments import ledger
from sales import order_checks, rows as sale_rows
from sales.order_checks import NO_SALES, SaleTerms

HELD_RETRY_SECONDS = 1


class OrderRequest(NamedTuple):
    """A request to place an order. `token` is the card to charge; None means to pay later. With
    `keep_on_decline` a refused card leaves the order to be paid with another one. The buyer was shown
    `expected_total_amount`, if that is given. Cards of the `payer` that were declined limit the request. A
    request that `may_have_own_terms` is of a member of staff, or by an API key.
    """

    account_id: int
    lines: tuple[Line, ...]
    coupon_code: str
    points_amount: int
    token: str | None
    keyed: KeyedCall
    by: ActorContext
    keep_on_decline: bool = False
    expected_total_amount: int | None = None
    payer: Payer | None = None
    may_have_own_terms: bool = False
    metadata: dict[str, str] | None = None

    @property
    def coupon(self) -> CouponRequest:
        return CouponRequest(self.account_id, self.coupon_code)


@dataclass(slots=True)
class PlacedOrder:
    """A new order with its lines; `started` is its purchase if it is paid at once.

    `answer` is what is recorded for the call's key, once the batch is decided.
    """

    order: OrderRow
    lines: list[NewLine]
    started: StartedPayment | None = None
    answer: Answer | None = None


PlacementResult = PlacedOrder | Replay | FirstcomeError
ReadStock = Callable[[set[int]], dict[int, Stock]]
Decide = Callable[[Sequence[OrderRequest]], list[PlacementResult]]


def locked_rows(order_request: OrderRequest) -> Iterator[Row]:
    """The rows that the order's transaction locks, and that others may keep locked."""
    for line in order_request.lines:
        yield stock_levels.locked_row(line.product_id)
    if order_request.coupon_code:
        yield from coupon_requests.locked_rows(order_request.coupon)
    yield sale_rows.locked_row(order_request.account_id)
    yield from declined_rows.locked_payers(order_request.payer)
    if not order_request.payer:
        yield accounts.referenced_row(order_request.account_id)


def place_one(
    order_request: OrderRequest, *, is_locked: bool, lock: ReadStock | None = None
) -> PlacedOrder | Replay:
    """Decide one order in its own transaction; raises its refusal, and what `decide` raises."""

    def decide_it(order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
        decide_once = partial(decide, order_requests, lock_stock=is_locked, lock_coupons=is_locked, lock=lock)
        try:
            return transactions.run(decide_once, transactions.KEYED)
        except IntegrityError:
            # Another request wrote the same key, or a first order of the account, between the read and the
            # insert: read again.
            return transactions.run(decide_once, transactions.KEYED)

    return outcome_of(order_request, decide_it)


def outcome_of(order_request: OrderRequest, decide: Decide) -> PlacedOrder | Replay:
    """What `decide_without_lapsed` has for one request; raises its refusal."""
    [outcome] = decide_without_lapsed(decide, [order_request])
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def decide_without_lapsed(decide: Decide, order_requests: Sequence[OrderRequest]) -> list[PlacementResult]:
    """Decide the requests, and once more those that are refused for what lapsed orders hold, which expire
    first. Must be called outside a transaction: orders are locked before stock.

    A refusal that stays then has a `retry_after`, because more of them may be about to expire.
    """
    outcomes = decide(order_requests)
    held = {index: order_requests[index] for index, one in enumerate(outcomes) if isinstance(one, Held)}
    if not held:
        return outcomes
    account_ids = {order_request.account_id for order_request in held.values()}
    product_ids = {line.product_id for order_request in held.values() for line in order_request.lines}
    find = partial(cancellation.find_lapsed, account_ids=account_ids, product_ids=product_ids)
    again = [outcomes[index] for index in held]
    # What the first decision placed is durable. After an error only these stay refused, and may be repeated.
    with suppress(DatabaseError, Unavailable):
        lapsed = transactions.read(find)
        if lapsed is None:
            return outcomes
        if cancellation.expire_unlocked(lapsed):
            again = decide([*held.values()])
    for index, outcome in zip(held, again, strict=True):
        outcomes[index] = outcome
        if isinstance(outcome, Held):
            outcome.retry_after = HELD_RETRY_SECONDS
    return outcomes


def decide(
    order_requests: Sequence[OrderRequest],
    *,
    lock_stock: bool = True,
    lock_coupons: bool = True,
    lock: ReadStock | None = None,
) -> list[PlacementResult]:
    """Decide a batch in order of arrival, then write it: the same few statements for any number.

    Campaigns with a shared code are locked as the stock is: many orders compete for both. Raises
    `transactions.ChangedMeanwhile` when a row that was read without a lock was changed since.
    """
    read_stock = (lock or stock_rows.lock_stock) if lock_stock else stock_rows.read_stock
    state = _read_state(order_requests, read_stock, lock_stock, lock_coupons)
    # Last: a repeat is never refused for what its order, placed by a faster duplicate, has used up.
    seen = recorded_answers.read_recorded_keys([order_request.keyed for order_request in order_requests])
    effects: dict[tuple[int, str], Effect] = {}
    outcomes: list[PlacementResult] = []
    for index, order_request in enumerate(order_requests):
        name = order_request.keyed.name
        if name in seen:
            # The order itself if an earlier attempt at this batch placed it, whose COMMIT got no reply.
            earlier = [attempt[index] for attempt in open_transaction.state.in_doubt]
            reference = seen[name].reference
            own = [one for one in earlier if isinstance(one, PlacedOrder) and one.order.id == reference]
            replay = recorded_answers.replay_or_reused(seen[name], order_request.keyed)
            outcomes.append(own[0] if own else replay)
        elif name in effects:
            outcomes.append(effects[name].replay_for(order_request.keyed))
        else:
            outcome = _decide_one(order_request, state)
            outcomes.append(outcome)
            if isinstance(outcome, PlacedOrder):
                effects[name] = Effect(order_request.keyed, outcome, reference=outcome.order.id)
                outcome.answer = effects[name].answer
    if effects:
        placed: list[PlacedOrder] = [effect.outcome for effect in effects.values()]
        totals = [(counters.PLACED, one.order.total_amount) for one in placed]
        open_transaction.count_after_commit(counters.count_orders, totals)
        journal.note_all(state.noted)
        stock_levels.save(state.stock, is_locked=lock_stock)
        order_rows.insert_orders(
            [one.order for one in placed], [line for one in placed for line in one.lines]
        )
        if state.sales.used:
            sale_rows.save_used(state.sales, is_locked=lock_stock)
        if state.coupons.held:
            coupon_requests.write(state.coupons)
        if state.firsts.new_uses:
            placement_rows.write_first_orders(state.firsts)
        purchase.insert_purchases([one.started for one in placed if one.started])
        recorded_answers.record(list(effects.values()))
    return outcomes


@dataclass(frozen=True, slots=True)
class BatchState:
    """What a batch has read; each order that it places changes it for the later ones."""

    stock: dict[int, Stock]
    sales: SaleTerms
    holdings: Holdings
    cards: limits.Counts
    coupons: BatchCoupons
    firsts: FirstOrders
    balances: dict[int, int]
    own_terms: OwnTerms
    now: datetime
    numbers: Numbers = field(default_factory=Numbers)
    noted: list[journal.NewJournalLine] = field(default_factory=list)


def _read_state(
    order_requests: Sequence[OrderRequest], read_stock: ReadStock, is_locked: bool, lock_coupons: bool
) -> BatchState:
    product_ids = {line.product_id for order_request in order_requests for line in order_request.lines}
    stock = read_stock(product_ids)
    named = {order_request.coupon for order_request in order_requests if order_request.coupon_code}
    coupons = BatchCoupons()
    firsts = FirstOrders()
    if named:
        coupons = coupon_requests.read(named, lock_campaigns=is_locked, lock_coupons=lock_coupons)
        firsts = placement_rows.read_first_orders(coupon_requests.accounts_of_first_orders(coupons, named))
    # After the stock, whose lock or version makes them exact.
    requested = [(order_request.account_id, order_request.lines) for order_request in order_requests]
    holdings = placement_rows.read_holdings(requested, stock)
    sales = NO_SALES
    if any(product.sale_id is not None for product in stock.values()):
        wanted = [(account_id, _sales_of(lines, stock)) for account_id, lines in requested]
        sales = sale_rows.read_terms(wanted, clock.now(), is_locked=is_locked)
    cards = declined_rows.lock_and_count_declines([order_request.payer for order_request in order_requests])
    # After the entries, whose locks an admission may have held: none is used before it was admitted.
    now = clock.now()
    spenders = {order_request.account_id for order_request in order_requests if order_request.points_amount}
    balances = ledger.balances(spenders) if spenders else {}
    own: OwnTerms = set()
    if of_staff := {one.account_id for one in order_requests if one.may_have_own_terms}:
        campaigns = {coupon.campaign_id for coupon in coupons.by_code.values()}
        campaigns |= {one.campaign.pk for one in coupons.shared.values()}
        subjects = [f"campaign {id}" for id in campaigns] + [f"product {id}" for id in product_ids]
        own = placement_rows.read_own_terms(of_staff, subjects, now=now)
    return BatchState(stock, sales, holdings, cards, coupons, firsts, balances, own, now)


def _sales_of(lines: Sequence[Line], stock: dict[int, Stock]) -> list[int | None]:
    """The sale of each line's product; None for those without one, or that don't exist."""
    return [stock[line.product_id].sale_id if line.product_id in stock else None for line in lines]


def _decide_one(order_request: OrderRequest, state: BatchState) -> PlacedOrder | FirstcomeError:
    account_id = order_request.account_id
    lines = order_request.lines
    stock = state.stock
    queued: list[int] = []
    try:
        charging.check_card_limits(state.cards, order_request.payer)
        availability.check_sold(stock, lines)
        if state.sales.sales:
            queued = order_checks.check(state.sales, account_id, _sales_of(lines, stock), state.now)
        if state.own_terms:
            own_terms.check(state.own_terms, account_id, [f"product {line.product_id}" for line in lines])
        availability.check_available(stock, lines)
        wanted = [
            (line.product_id, line.quantity, stock[line.product_id].limit_per_account) for line in lines
        ]
        limits.check(
            state.holdings[account_id],
            wanted,
            most_unpaid_orders=settings.OPEN_ORDERS_PER_ACCOUNT,
            most_unpaid_units=settings.OPEN_UNITS_PER_ACCOUNT,
        )
        coupon = None
        is_first_order = False
        if order_request.coupon_code:
            coupon = coupon_requests.find_usable(state.coupons, order_request.coupon, now=state.now)
            own_terms.check(state.own_terms, account_id, [f"campaign {coupon.campaign_id}"])
            is_first_order = coupon.campaign.first_order_only
        if is_first_order and account_id in state.firsts.have_ordered:
            raise redemption.not_usable("not_first_order")
        placed = _build_order(order_request, state, queued, coupon)
    except FirstcomeError as error:
        return error
    order = placed.order
    availability.reserve(stock, lines)
    limits.add(state.holdings[account_id], wanted)
    limits.add_card(state.cards, order_request.payer)
    if queued:
        order_checks.use(state.sales, account_id, queued, order.id)
    if coupon:
        coupon_requests.mark_held(state.coupons, coupon, order_id=order.id, by=order_request.by)
    state.firsts.add(account_id, order.id, is_use=is_first_order)
    state.noted.append(_line_of_placed(order, order_request, stock))
    if order_request.by.actor == journal.Actor.STAFF:
        open_transaction.count_after_commit(counters.count_staff_orders, [order])
    return placed


def _line_of_placed(
    order: OrderRow, order_request: OrderRequest, stock: dict[int, Stock]
) -> journal.NewJournalLine:
    reserved = []
    for line in order_request.lines:
        product = stock[line.product_id]
        after = product.reserved + product.newly_reserved
        reserved.append({"product": product.id, "before": after - line.quantity, "after": after})
    return journal.build_line(
        what="order.placed",
        subject=f"order {order.id}",
        order_id=order.id,
        after=order_events.metadata_of(order)
        | {
            "number": order.number,
            "account": order_request.account_id,
            "status": order.status,
            "total_amount": order.total_amount,
            "reserved": reserved,
        },
        at=order.placed_at,
        by=order_request.by,
    )


def _build_order(
    order_request: OrderRequest, state: BatchState, queued_sales: Sequence[int], coupon: Coupon | None
) -> PlacedOrder:
    """The unsaved order and its lines, with their amounts, and its purchase if it is paid at once.

    Lines keep their sale if it is among `queued_sales`, those whose entries the order uses.
    """
    products = [state.stock[line.product_id] for line in order_request.lines]
    quantities = [line.quantity for line in order_request.lines]
    line_amounts = [product.price * count for product, count in zip(products, quantities, strict=True)]
    discount_amount = 0
    discounted_amounts = line_amounts
    if coupon:
        discounted_amounts = coupon_requests.discounted_amounts(
            state.coupons,
            coupon,
            product_ids=[line.product_id for line in order_request.lines],
            line_amounts=line_amounts,
        )
        discount_amount = redemption.discount_amount(
            coupon.campaign.discount, items_amount=sum(discounted_amounts)
        )
    items_amount = sum(line_amounts)
    total_amount = items_amount - discount_amount
    points_amount = order_request.points_amount
    pricing.check_total(
        total_amount, points_amount=points_amount, expected_total_amount=order_request.expected_total_amount
    )
    order = OrderRow(
        id=uuid7(),
        account_id=order_request.account_id,
        status=(Status.AWAITING_PAYMENT if order_request.token is None else Status.PAYING).value,
        items_amount=items_amount,
        discount_amount=discount_amount,
        points_amount=points_amount,
        card_amount=total_amount - points_amount,
        total_amount=total_amount,
        currency=settings.CURRENCY,
        coupon_code=coupon.code if coupon else "",
        units=sum(quantities),
        placed_at=state.now,
        expires_at=state.now + timedelta(seconds=settings.ORDER_HOLD_SECONDS),
        number=state.numbers.next(),
        metadata=order_request.metadata or None,
    )
    shares = pricing.split_discount(discount_amount, discounted_amounts)
    lines = [
        NewLine(
            order.id,
            product.id,
            product.sku,
            product.name,
            quantity=count,
            unit_price=product.price,
            line_amount=line_amount,
            discount_amount=share,
            limit_per_account=product.limit_per_account,
            sale_id=product.sale_id if product.sale_id in queued_sales else None,
        )
        for product, count, line_amount, share in zip(products, quantities, line_amounts, shares, strict=True)
    ]
    placed = PlacedOrder(order, lines)
    pricing.check_means(
        order.points_amount,
        order.card_amount,
        balance_amount=state.balances.get(order.account_id, 0),
        token=order_request.token,
    )
    if order_request.token is not None:
        placed.started = purchase.new_purchase(
            order,
            token=order_request.token,
            by=order_request.by,
            keep_on_decline=order_request.keep_on_decline,
            payer=order_request.payer,
            lines=[
                Line(line.product_id, line.quantity, line.line_amount - line.discount_amount)
                for line in lines
            ],
        )
    return placed
