"""Orders by the thousand, ended in all ways, with every row that a real one leaves behind.

A bite of orders is decided in two temporary tables, `filling_order` and `filling_line`, from which all
others are then copied in one transaction. Everything follows from an order's number, so nothing is drawn
by chance but the ids.
"""

import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from orders.models import Order
from scripts.bench import filling_coupons, filling_rows

PRODUCTS = 1_000
DISCOUNT_AMOUNT, POINTS_AMOUNT = 1_000, 500
# All within the retention of idempotency keys, which the housekeeping would clear away otherwise.
PERIOD = timedelta(hours=20)

OPEN_WALLETS = """
INSERT INTO payments_ledgeraccount (id, kind, user_id, balance_amount)
SELECT account_id, 'wallet', account_id, 0 FROM filling_account
WHERE account_id NOT IN (SELECT id FROM payments_ledgeraccount)
"""
PRODUCTS_ADDED = """
INSERT INTO inventory_product (sku, name, price, on_hand, reserved, is_active, version, created_at)
SELECT CONCAT('FILLED-', {first} + seq), CONCAT('Filled product ', {first} + seq), 1000 + 10 * seq,
       {of_each}, 0, 1, 0, UTC_TIMESTAMP(6)
FROM seq_1_to_{products}
"""
RECEIVED = """
INSERT INTO inventory_stockmovement (product_id, kind, delta, on_hand_after, reason, at)
SELECT id, 'received', on_hand, on_hand, 'Filled', created_at FROM inventory_product
WHERE id > %(last)s
"""
NUMBERED = """
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
STATUS = """
CASE WHEN MOD(37 * n, 100) < 60 THEN 'paid' WHEN MOD(37 * n, 100) < 62 THEN 'awaiting_payment'
     WHEN MOD(37 * n, 100) < 80 THEN 'expired' WHEN MOD(37 * n, 100) < 95 THEN 'cancelled'
     ELSE 'payment_failed' END
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
    SELECT n, items_amount, {status} AS status,
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
COUPONS_CHOSEN = """
UPDATE filling_order
SET coupon_code = LPAD(CONV(LEFT(MD5(CONCAT(order_id, UUID())), 15), 16, 32), 12, '0')
WHERE discount_amount > 0
"""


def open_wallets() -> None:
    """A wallet for each of the accounts chosen, unless it has one."""
    with connection.cursor() as cursor:
        cursor.execute(OPEN_WALLETS)


@transaction.atomic
def receive_stock(*, of_each: int) -> None:
    """New products with so much of each on hand, numbered in the table `filling_product`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM inventory_product")
        names = {"last": cursor.fetchone()[0]}
        words = {"products": PRODUCTS, "first": names["last"], "of_each": of_each}
        cursor.execute(PRODUCTS_ADDED.format(**words))
        cursor.execute(RECEIVED, names)
        cursor.execute(NUMBERED, names)


def period(count: int) -> tuple[datetime, int]:
    """When the first of so many orders is placed, and how many microseconds later the next.

    After all that are there: the books of payments and charges are read side by side, oldest first.
    """
    now = timezone.now()
    newest = Order.objects.order_by("-id").values_list("placed_at", flat=True).first()
    begun_at = max(now - PERIOD, newest or now - PERIOD)
    step = (now - begun_at) // timedelta(microseconds=count)
    return begun_at.replace(tzinfo=None), step


def place(*, first: int, last: int, begun_at: datetime, step: int) -> None:
    """Place and end the orders from `first` to `last` of the `period`, in one transaction."""
    _decide(first=first, last=last, begun_at=begun_at, step=step)
    names = {"currency": settings.CURRENCY, "campaign": None}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM filling_order WHERE coupon_code <> ''")
        with_coupon = cursor.fetchone()[0]
        if with_coupon:
            names["campaign"] = filling_coupons.open_campaign(
                quantity=with_coupon, discount_amount=DISCOUNT_AMOUNT
            )
        for statement in filling_rows.STATEMENTS:
            cursor.execute(statement, names)


def _decide(*, first: int, last: int, begun_at: datetime, step: int) -> None:
    words = {
        "first": first,
        "last": last,
        "products": PRODUCTS,
        "status": STATUS,
        "discount": DISCOUNT_AMOUNT,
        "points": POINTS_AMOUNT,
        "step": step,
        "run": secrets.token_hex(2)[1:],
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM filling_account")
        words["accounts"] = cursor.fetchone()[0]
        cursor.execute(LINES.format(**words))
        cursor.execute(ORDERS.format(**words), {"from": begun_at})
        cursor.execute(COUPONS_CHOSEN)
