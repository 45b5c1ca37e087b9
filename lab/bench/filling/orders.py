"""Orders by the thousand, ended in all ways, with every row that a real one leaves behind."""

import secrets
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from coupons.models import Campaign, Coupon
from inventory.models import Product, StockMovement
from lab.bench.filling import book as books
from lab.bench.filling.rows import (
    BITE,
    CODE,
    bites,
    choose_accounts,
    execute,
    insert,
    note,
    open_campaign,
    progress,
)
from orders.models import Order, OrderLine, Saga, SagaLog
from payments.models import Entry, LedgerAccount, Payment, Transfer
from shop import clock
from shop.models import IdempotencyKey

ORDERS_OF_AN_ACCOUNT = 10
PRODUCTS = 1_000
DISCOUNT_AMOUNT, POINTS_AMOUNT = 1_000, 500
# All within the retention of idempotency keys, which the housekeeping would clear away otherwise.
PERIOD = timedelta(hours=20)

NUMBERED_PRODUCTS = """
CREATE OR REPLACE TEMPORARY TABLE filling_product (number INT PRIMARY KEY, product_id BIGINT NOT NULL)
SELECT ROW_NUMBER() OVER (ORDER BY id) - 1 AS number, id AS product_id
FROM inventory_product WHERE id > %(last)s
"""
# A sixth of the lines has one unit, none more than three. Orders with a coupon have one line, which bears
# the whole discount.
LINES = """
CREATE OR REPLACE TEMPORARY TABLE filling_line
(n INT NOT NULL, k INT NOT NULL, product_id BIGINT NOT NULL, quantity INT NOT NULL, price BIGINT NOT NULL,
 PRIMARY KEY (n, k))
SELECT n.seq AS n, k.seq AS k, product.id AS product_id, 1 + MOD(n.seq + k.seq, 3) AS quantity, product.price
FROM seq_{first}_to_{last} AS n
JOIN seq_0_to_2 AS k ON k.seq <= IF(MOD(n.seq, 20) = 1, 0, MOD(n.seq, 3))
JOIN filling_product AS numbered ON numbered.number = MOD(7 * n.seq + 331 * k.seq, {products})
JOIN inventory_product AS product ON product.id = numbered.product_id
"""
# The ids are UUIDv7: the time in front, so that they grow; then the kind of row, the filling and the number.
ORDERS = """
CREATE OR REPLACE TEMPORARY TABLE filling_order
(n INT PRIMARY KEY, order_id UUID, payment_id UUID, saga_id UUID, grant_id UUID, hold_id UUID, sale_id UUID,
 account_id INT, status VARCHAR(20), placed_at DATETIME(6), ended_at DATETIME(6), items_amount BIGINT,
 discount_amount BIGINT, points_amount BIGINT, card_amount BIGINT, coupon_code VARCHAR(64) NOT NULL)
WITH amounts AS (
    SELECT n, SUM(quantity * price) AS items_amount FROM filling_line GROUP BY n
), decided AS (
    SELECT n, items_amount,
           CASE WHEN MOD(37 * n, 100) < 60 THEN 'paid' WHEN MOD(37 * n, 100) < 62 THEN 'awaiting_payment'
                WHEN MOD(37 * n, 100) < 80 THEN 'expired' WHEN MOD(37 * n, 100) < 95 THEN 'cancelled'
                ELSE 'payment_failed' END AS status,
           %(from)s + INTERVAL n * {step} MICROSECOND AS placed_at
    FROM amounts
), priced AS (
    SELECT decided.*, IF(status = 'paid' AND MOD(n, 20) = 1, {discount}, 0) AS discount_amount,
           IF(status = 'paid' AND MOD(n, 4) = 0, {points}, 0) AS points_amount,
           LPAD(HEX(FLOOR(UNIX_TIMESTAMP(placed_at) * 1000)), 12, '0') AS moment,
           CONCAT('8{run}', LPAD(HEX(n), 12, '0')) AS tail
    FROM decided
)
SELECT n, CONCAT(moment, '7001', tail) AS order_id, CONCAT(moment, '7002', tail) AS payment_id,
       CONCAT(moment, '7003', tail) AS saga_id, CONCAT(moment, '7004', tail) AS grant_id,
       CONCAT(moment, '7005', tail) AS hold_id, CONCAT(moment, '7006', tail) AS sale_id,
       account.account_id, status, placed_at,
       IF(status = 'awaiting_payment', NULL, placed_at + INTERVAL 300000 MICROSECOND) AS ended_at,
       items_amount, discount_amount, points_amount,
       items_amount - discount_amount - points_amount AS card_amount, '' AS coupon_code
FROM priced JOIN filling_account AS account ON account.number = 1 + MOD(n, {accounts})
"""
COUPONS_CHOSEN = (
    f"UPDATE filling_order SET coupon_code = {CODE.format(seed='order_id')}"  # noqa: S608 - names of ours
    " WHERE discount_amount > 0"
)
STOCK = """
UPDATE inventory_product JOIN (
    SELECT product_id, SUM(IF(status = 'paid', quantity, 0)) AS sold,
           SUM(IF(status = 'awaiting_payment', quantity, 0)) AS held
    FROM filling_line JOIN filling_order USING (n) GROUP BY product_id
) AS moved ON id = product_id
SET on_hand = on_hand - sold, reserved = reserved + held, version = version + 1
"""
STEPS = """filling_order
JOIN (SELECT 'reserve_inventory' AS step, 1 AS place, 2 AS undo_place UNION SELECT 'hold_coupon', 2, 3
      UNION SELECT 'debit_balance', 3, 4 UNION SELECT 'charge_card', 4, 1
      UNION SELECT 'settle', 5, NULL) AS steps"""
CHARGE = "CONCAT('ch_', REPLACE(payment_id, '-', ''))"
SOLD_LINES = "filling_line JOIN filling_order USING (n) JOIN inventory_product ON id = product_id"


def fill_orders(count: int, *, book: Path) -> None:
    """Place that many orders of new products and end them all ways, their charges in the gateway's `book`.

    Six in ten are paid, two in a hundred wait for their payment for two days; the rest expired, were
    cancelled or declined. Raises sqlite3.Error when the simulator's book can't be written.
    """
    accounts = max(1, -(-count // ORDERS_OF_AN_ACCOUNT))
    choose_accounts(accounts)
    wallets = "filling_account WHERE account_id NOT IN (SELECT id FROM payments_ledgeraccount)"
    insert(LedgerAccount, wallets, id="account_id", kind="'wallet'", user_id="account_id")
    _receive_stock(of_each=count * 10)
    begun_at, step = _period(count)
    count_done = progress("orders", count)
    # An account orders once in a bite, so that no balance changes twice in a statement.
    for first, last in bites(count, min(BITE, accounts)):
        _decide(first=first, last=last, begun_at=begun_at, step=step, accounts=accounts)
        _place()
        books.charge(book)
        count_done(last - first + 1)


@transaction.atomic
def _receive_stock(*, of_each: int) -> None:
    """New products with so much of each on hand, numbered in the table `filling_product`."""
    last = Product.objects.aggregate(last=Max("id"))["last"] or 0
    insert(
        Product,
        f"seq_1_to_{PRODUCTS}",
        sku=f"CONCAT('FILLED-', {last} + seq)",
        name=f"CONCAT('Filled product ', {last} + seq)",
        price="1000 + 10 * seq",
        on_hand=str(of_each),
        created_at="UTC_TIMESTAMP(6)",
    )
    insert(
        StockMovement,
        f"inventory_product WHERE id > {last}",
        product_id="id",
        kind="'received'",
        delta="on_hand",
        on_hand_after="on_hand",
        reason="'Filled'",
        at="created_at",
    )
    execute(NUMBERED_PRODUCTS, last=last)


def _period(count: int) -> tuple[datetime, int]:
    """When the first of so many orders is placed, and how many microseconds later the next.

    After all that are there: the books of payments and charges are read side by side, oldest first.
    """
    now = clock.now()
    newest = Order.objects.order_by("-id").values_list("placed_at", flat=True).first()
    begun_at = max(now - PERIOD, newest or now - PERIOD)
    step = (now - begun_at) // timedelta(microseconds=count)
    return begun_at.replace(tzinfo=None), step


def _decide(*, first: int, last: int, begun_at: datetime, step: int, accounts: int) -> None:
    """What becomes of the orders from `first` to `last` of the period."""
    execute(LINES.format(first=first, last=last, products=PRODUCTS))
    run = secrets.token_hex(2)[1:]
    amounts = {"discount": DISCOUNT_AMOUNT, "points": POINTS_AMOUNT}
    execute(ORDERS.format(step=step, run=run, accounts=accounts, **amounts), **{"from": begun_at})
    execute(COUPONS_CHOSEN)


@transaction.atomic
def _place() -> None:
    """Copy the bite into every table that a real order leaves rows in."""
    _insert_orders()
    _record_answers()
    _move_stock()
    _redeem_coupons()
    _insert_payments()
    _log_steps()
    _transfer_points()
    note(
        "filling_order WHERE status <> 'awaiting_payment'",
        {"currency": settings.CURRENCY},
        at="ended_at",
        what="CONCAT('order.', status)",
        subject="CONCAT('order ', order_id)",
        order_id="order_id",
        before="JSON_OBJECT('status', 'awaiting_payment')",
        after="JSON_OBJECT('order', order_id, 'account', account_id, "
        "'total_amount', items_amount - discount_amount, 'points_amount', points_amount, "
        "'card_amount', card_amount, 'currency', %(currency)s, 'status', status)",
    )


def _insert_orders() -> None:
    """The orders with their lines."""
    same = "account_id items_amount discount_amount points_amount card_amount coupon_code placed_at status"
    insert(
        Order,
        "filling_order",
        {"currency": settings.CURRENCY},
        **{name: name for name in same.split()},
        id="order_id",
        total_amount="items_amount - discount_amount",
        units="(SELECT SUM(quantity) FROM filling_line WHERE filling_line.n = filling_order.n)",
        currency="%(currency)s",
        expires_at="IF(status = 'awaiting_payment', UTC_TIMESTAMP(6) + INTERVAL 2 DAY, "
        "placed_at + INTERVAL 900 SECOND)",
        paid_at="IF(status = 'paid', ended_at, NULL)",
        ended_at="IF(status = 'paid', NULL, ended_at)",
        **_declined("status = 'payment_failed'"),
    )
    insert(
        OrderLine,
        SOLD_LINES.replace("filling_line JOIN", "filling_line AS line JOIN"),
        **{name: name for name in ("order_id", "product_id", "sku", "name", "quantity", "discount_amount")},
        unit_price="line.price",
        line_amount="quantity * line.price",
    )


def _record_answers() -> None:
    """The answers kept under the orders' keys, and the journal's line of each order."""
    amounts = ", ".join(f"'{name}', {name}" for name in ("items_amount", "discount_amount", "points_amount"))
    insert(
        IdempotencyKey,
        "filling_order",
        {"currency": settings.CURRENCY},
        account_id="account_id",
        key_hash="SHA2(order_id, 256)",
        fingerprint="SHA2(payment_id, 256)",
        reference="order_id",
        status="201",
        body=f"JSON_OBJECT('id', order_id, 'status', status, {amounts}, 'card_amount', card_amount, "
        "'total_amount', items_amount - discount_amount, 'currency', %(currency)s, 'coupon', coupon_code, "
        "'placed_at', placed_at)",
        location="CONCAT('/api/v1/orders/', order_id)",
        created_at="placed_at",
    )
    note(
        "filling_order",
        at="placed_at",
        actor="'account'",
        actor_id="account_id",
        request_id="payment_id",
        what="'order.placed'",
        subject="CONCAT('order ', order_id)",
        order_id="order_id",
        after="JSON_OBJECT('status', 'awaiting_payment', 'total_amount', items_amount - discount_amount)",
    )


def _declined(when: str) -> dict[str, str]:
    """Why an order, a payment or a saga failed."""
    detail = f"IF({when}, 'The card was declined.', '')"
    return {"failure_code": f"IF({when}, 'card_declined', '')", "failure_detail": detail}


def _move_stock() -> None:
    """What is sold leaves the shelf: the level after each sale, and then the level itself."""
    insert(
        StockMovement,
        f"{SOLD_LINES} WHERE status = 'paid'",
        product_id="product_id",
        kind="'sold'",
        delta="-quantity",
        on_hand_after="on_hand - SUM(quantity) OVER (PARTITION BY product_id ORDER BY n)",
        order_id="order_id",
        at="ended_at",
    )
    note(
        "inventory_stockmovement AS movement JOIN filling_order USING (order_id)",
        at="movement.at",
        what="'stock.sold'",
        subject="CONCAT('product ', product_id)",
        order_id="order_id",
        before="JSON_OBJECT('on_hand', on_hand_after - delta)",
        after="JSON_OBJECT('on_hand', on_hand_after)",
        is_internal="1",
    )
    execute(STOCK)


def _redeem_coupons() -> None:
    """The coupons that discounts came from: each account's, redeemed by its order."""
    with_coupon = execute("SELECT COUNT(*) FROM filling_order WHERE coupon_code <> ''")
    if not with_coupon:
        return
    campaign_id = open_campaign(quantity=with_coupon, discount_amount=DISCOUNT_AMOUNT)
    Campaign.objects.filter(pk=campaign_id).update(issued=with_coupon)
    insert(
        Coupon,
        "filling_order WHERE coupon_code <> ''",
        campaign_id=str(campaign_id),
        account_id="account_id",
        code="coupon_code",
        position="ROW_NUMBER() OVER (ORDER BY n)",
        status="'redeemed'",
        order_id="order_id",
        issued_at="placed_at",
        expires_at="placed_at + INTERVAL 30 DAY",
    )


def _insert_payments() -> None:
    """Payments and their sagas; a declined one keeps its payment too: the gateway was asked."""
    paying = "filling_order WHERE status IN ('paid', 'payment_failed')"
    insert(
        Payment,
        paying,
        {"currency": settings.CURRENCY},
        **{name: name for name in ("account_id", "order_id", "points_amount", "card_amount")},
        id="payment_id",
        status="IF(status = 'paid', 'succeeded', 'failed')",
        currency="%(currency)s",
        charge_key="CONCAT('payment-', payment_id)",
        charge_reference=f"IF(status = 'paid', {CHARGE}, '')",
        created_at="placed_at",
        settled_at="ended_at",
        **_declined("status <> 'paid'"),
    )
    insert(
        Saga,
        paying,
        id="saga_id",
        kind="'purchase'",
        subject_id="payment_id",
        about_id="order_id",
        request_id="payment_id",
        state="IF(status = 'paid', 'done', 'compensated')",
        direction="IF(status = 'paid', 'do', 'undo')",
        deadline_at="placed_at + INTERVAL 900 SECOND",
        created_at="placed_at",
        ended_at="ended_at",
        **_declined("status <> 'paid'"),
    )


def _log_steps() -> None:
    """The sagas' steps, done and undone, with the journal's line of each."""
    insert(
        SagaLog,
        f"{STEPS} WHERE status = 'paid' OR status = 'payment_failed' AND place <= 4 ORDER BY n, place",
        saga_id="saga_id",
        step="step",
        direction="'do'",
        event="CASE WHEN step = 'hold_coupon' AND coupon_code = '' THEN 'skipped' "
        "WHEN step = 'debit_balance' AND points_amount = 0 THEN 'skipped' "
        "WHEN step = 'charge_card' AND status = 'payment_failed' THEN 'refused' ELSE 'done' END",
        reference=f"IF(step = 'charge_card', {CHARGE}, '')",
        at="placed_at",
    )
    insert(
        SagaLog,
        f"{STEPS} WHERE status = 'payment_failed' AND undo_place IS NOT NULL ORDER BY n, undo_place",
        saga_id="saga_id",
        step="step",
        direction="'undo'",
        event="IF(step = 'reserve_inventory', 'done', 'skipped')",
        at="ended_at",
    )
    note(
        "filling_order JOIN orders_sagalog AS log USING (saga_id)",
        at="log.at",
        request_id="payment_id",
        what="CONCAT(log.step, IF(log.direction = 'undo', '.undo', ''), '.', log.event)",
        subject="CONCAT('purchase ', payment_id)",
        order_id="order_id",
        detail="log.detail",
        reference="log.reference",
    )


def _transfer_points() -> None:
    """Grants, holds and sales. An account that pays with points is granted as many before: its wallet ends as
    it began."""
    by_points = "filling_order WHERE points_amount > 0"
    grant = {"reference": "CONCAT('filled ', order_id)", "reason": "'Filled'", "at": "placed_at"}
    of_order = {"reference": "order_id", "order_id": "order_id"}
    insert(Transfer, by_points, id="grant_id", kind="'grant'", **grant)
    insert(Transfer, by_points, id="hold_id", kind="'hold'", at="placed_at", **of_order)
    paid = "filling_order WHERE status = 'paid'"
    insert(Transfer, paid, id="sale_id", kind="'sale'", at="ended_at", **of_order)
    accounts = "filling_order JOIN payments_ledgeraccount ON id IN ({ids}) WHERE {condition}"
    insert(
        Entry,
        accounts.format(ids="account_id, -4", condition="points_amount > 0"),
        transfer_id="grant_id",
        account_id="id",
        amount="IF(id < 0, -points_amount, points_amount)",
        balance_after_amount="IF(id < 0, NULL, balance_amount + points_amount)",
    )
    insert(
        Entry,
        accounts.format(ids="account_id, -1", condition="points_amount > 0"),
        transfer_id="hold_id",
        account_id="id",
        amount="IF(id < 0, points_amount, -points_amount)",
        balance_after_amount="IF(id < 0, NULL, balance_amount)",
    )
    insert(
        Entry,
        accounts.format(ids="-1, -2, -3", condition="status = 'paid' AND (id <> -1 OR points_amount > 0)"),
        transfer_id="sale_id",
        account_id="id",
        amount="CASE id WHEN -1 THEN -points_amount WHEN -2 THEN points_amount + card_amount "
        "ELSE -card_amount END",
    )
