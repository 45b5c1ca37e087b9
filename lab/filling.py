"""Filling the shop's tables as years of selling would: millions of coupons and orders, every law holding.

Rows are made by the database itself, in bites: a bite is one transaction with its counters, so an audit may
look at any moment, though L5 is broken until `rebuild_product_days` has run. Foreign keys, unique keys and
checks stay on. MariaDB only: its sequences count.
`LAB=1 python -m lab.filling 1000000 5000` issues and orders so many in the stack that was started last, whose
state is in `FIRSTCOME_VAR`, as `var/` is.
"""

import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from lab.stack import database
from scripts.stack import instance as instances, places
from scripts.stack.instance import Instance

BITE = 50_000  # Rows of a transaction: enough to be quick, few enough for its undo log to stay small
# Within the retention of idempotency keys, which the housekeeping would clear away otherwise.
RETAINED_HOURS = 20
CAMPAIGNS = 20
ORDERS_OF_AN_ACCOUNT = 10
UNITS_OF_AN_ORDER = 10  # on hand, together
CURRENCY = os.environ.get("CURRENCY", "KRW")
# What the statements have in common: products, amounts of discounts and points, and their currency.
SHARED = {"products": 1_000, "discount": 1_000, "points": 500, "currency": CURRENCY}
# Codes of 14 characters, as spread over their index as real ones that were issued hour after hour for weeks.
CODE = "CONCAT(LPAD(CONV(LEFT(MD5(UUID()), 15), 16, 32), 12, '0'), LPAD(MOD({number}, 100), 2, '0'))"

# The first {count} active accounts, numbered from 1; those that are missing are made. A hash never begins
# with an exclamation mark: no password fits.
ACCOUNTS = """
INSERT INTO auth_user (username, password, is_active, date_joined)
SELECT CONCAT('filled-', there.last + seq), '!', 1, UTC_TIMESTAMP(6)
FROM seq_1_to_{count} JOIN (
    SELECT COALESCE(MAX(id), 0) AS last, COUNT(IF(is_active, 1, NULL)) AS active FROM auth_user
) AS there WHERE seq <= {count} - there.active;
CREATE OR REPLACE TEMPORARY TABLE filling_account (number INT PRIMARY KEY, account_id INT NOT NULL)
SELECT ROW_NUMBER() OVER (ORDER BY id) AS number, id AS account_id
FROM (SELECT id FROM auth_user WHERE is_active ORDER BY id LIMIT {count}) AS first_ones;
"""
# A campaign with {quantity} coupons to give.
CAMPAIGN = """
INSERT INTO coupons_campaign
    (name, strategy, quantity, issued, opens_at, code_source, eligible, discount_type,
    discount_value, coupon_valid_for_days, created_at)
VALUES ('Filled', 'group_commit', {quantity}, 0, UTC_TIMESTAMP(6), 'generated', 'all', 'amount',
    {discount}, 30, UTC_TIMESTAMP(6));
SET @campaign = LAST_INSERT_ID();
"""
# The positions from {first} to {last} of the campaign, for the accounts of these numbers: numbered without
# gaps, counted, and noted in the journal.
COUPONS = """
BEGIN;
UPDATE coupons_campaign SET issued = {last} WHERE id = @campaign AND issued = {first} - 1;
INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, issued_at, expires_at)
SELECT @campaign, account_id, {code}, number, 'issued', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL 30 DAY
FROM filling_account WHERE number BETWEEN {first} AND {last};
INSERT INTO shop_journalline (at, actor, actor_id, request_id, what, subject, after)
SELECT issued_at, 'account', account_id, UUID(), 'coupon.issued', CONCAT('coupon ', code),
    JSON_OBJECT('coupon', code, 'campaign', campaign_id, 'account', account_id, 'position', position,
                'status', status)
FROM coupons_coupon WHERE campaign_id = @campaign AND position BETWEEN {first} AND {last};
COMMIT;
"""
# The first {count} accounts of the filling join sale {sale}, which has not opened.
ENTRIES = """
INSERT INTO sales_saleentry (id, sale_id, account_id, status, is_current, created_at)
SELECT UUID(), {sale}, account_id, 'waiting', 1, UTC_TIMESTAMP(6) FROM filling_account;
UPDATE sales_sale SET drawn_count = {count} WHERE id = {sale}
"""
# New products with {on_hand} of each on hand, numbered from 0; and wallets for the accounts.
PRODUCTS = """
BEGIN;
SET @last = (SELECT COALESCE(MAX(id), 0) FROM inventory_product);
INSERT INTO inventory_product (sku, name, price, on_hand, is_active, created_at)
SELECT CONCAT('FILLED-', @last + seq), CONCAT('Filled product ', @last + seq), 1000 + 10 * seq, {on_hand}, 1,
    UTC_TIMESTAMP(6)
FROM seq_1_to_{products};
INSERT INTO inventory_stockmovement (product_id, kind, delta, on_hand_after, reason, at)
SELECT id, 'received', on_hand, on_hand, 'Filled', created_at FROM inventory_product WHERE id > @last;
COMMIT;
CREATE OR REPLACE TEMPORARY TABLE filling_product (number INT PRIMARY KEY, product_id BIGINT NOT NULL)
SELECT ROW_NUMBER() OVER (ORDER BY id) - 1 AS number, id AS product_id
FROM inventory_product WHERE id > @last;
INSERT INTO payments_ledgeraccount (id, kind, user_id)
SELECT account_id, 'wallet', account_id FROM filling_account
WHERE account_id NOT IN (SELECT id FROM payments_ledgeraccount);
-- The first order is placed after all that are there: the books of payments and charges are read side by
-- side, oldest first.
SET @from = GREATEST(UTC_TIMESTAMP(6) - INTERVAL {hours} HOUR,
    COALESCE((SELECT placed_at FROM orders_order ORDER BY id DESC LIMIT 1), '2000-01-01'));
SET @step = TIMESTAMPDIFF(MICROSECOND, @from, UTC_TIMESTAMP(6)) DIV {count};
"""
# The orders from {first} to {last} of the period, ended in all ways, with every row that a real one leaves
# behind. What becomes of each is decided first. Orders with a coupon have one line, which bears the whole
# discount.
ORDERS = """
CREATE OR REPLACE TEMPORARY TABLE filling_line
(n INT NOT NULL, k INT NOT NULL, product_id BIGINT NOT NULL, quantity INT NOT NULL, price BIGINT NOT NULL,
 PRIMARY KEY (n, k))
SELECT n.seq AS n, k.seq AS k, product.id AS product_id, 1 + MOD(n.seq + k.seq, 3) AS quantity, product.price
FROM seq_{first}_to_{last} AS n
JOIN seq_0_to_2 AS k ON k.seq <= IF(MOD(n.seq, 20) = 1, 0, MOD(n.seq, 3))
JOIN filling_product AS numbered ON numbered.number = MOD(7 * n.seq + 331 * k.seq, {products})
JOIN inventory_product AS product ON product.id = numbered.product_id;

-- The ids are UUIDv7: the time in front, so that they grow; then the kind of row, the filling and the number.
CREATE OR REPLACE TEMPORARY TABLE filling_order
(n INT PRIMARY KEY, order_id UUID, payment_id UUID, saga_id UUID, grant_id UUID, hold_id UUID, sale_id UUID,
 account_id INT, status VARCHAR(20), placed_at DATETIME(6), ended_at DATETIME(6), items_amount BIGINT,
 discount_amount BIGINT, points_amount BIGINT, card_amount BIGINT, total_amount BIGINT,
 coupon_code VARCHAR(64) NOT NULL, failure_code VARCHAR(64) NOT NULL, failure_detail VARCHAR(255) NOT NULL,
 charge_reference VARCHAR(64) NOT NULL)
WITH amounts AS (
    SELECT n, SUM(quantity * price) AS items_amount FROM filling_line GROUP BY n
), decided AS (
    SELECT n, items_amount,
           CASE WHEN MOD(37 * n, 100) < 60 THEN 'paid' WHEN MOD(37 * n, 100) < 62 THEN 'awaiting_payment'
                WHEN MOD(37 * n, 100) < 80 THEN 'expired' WHEN MOD(37 * n, 100) < 95 THEN 'cancelled'
                ELSE 'payment_failed' END AS status,
           CAST(@from AS DATETIME(6)) + INTERVAL n * @step MICROSECOND AS placed_at
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
       items_amount - discount_amount - points_amount AS card_amount,
       items_amount - discount_amount AS total_amount,
       IF(discount_amount > 0, {code}, '') AS coupon_code,
       IF(status = 'payment_failed', 'card_declined', '') AS failure_code,
       IF(status = 'payment_failed', 'The card was declined.', '') AS failure_detail,
       IF(status = 'paid', LOWER(CONCAT('ch_', moment, '7002', tail)), '') AS charge_reference
FROM priced JOIN filling_account AS account ON account.number = 1 + MOD(n, {accounts});

BEGIN;
INSERT INTO orders_order (id, account_id, status, items_amount, discount_amount, points_amount, card_amount,
    total_amount, currency, coupon_code, units, placed_at, expires_at, paid_at, ended_at, failure_code,
    failure_detail)
SELECT order_id, account_id, status, items_amount, discount_amount, points_amount, card_amount, total_amount,
    '{currency}', coupon_code,
    (SELECT SUM(quantity) FROM filling_line WHERE filling_line.n = filling_order.n), placed_at,
    IF(status = 'awaiting_payment', UTC_TIMESTAMP(6) + INTERVAL 2 DAY, placed_at + INTERVAL 900 SECOND),
    IF(status = 'paid', ended_at, NULL), IF(status = 'paid', NULL, ended_at), failure_code, failure_detail
FROM filling_order;
INSERT INTO orders_orderline
    (order_id, product_id, sku, name, quantity, unit_price, line_amount, discount_amount)
SELECT order_id, product_id, sku, name, quantity, line.price, quantity * line.price, discount_amount
FROM filling_line AS line JOIN filling_order USING (n) JOIN inventory_product ON id = product_id;
INSERT INTO shop_idempotencykey
    (account_id, key_hash, fingerprint, reference, status, body, location, created_at)
SELECT account_id, SHA2(order_id, 256), SHA2(payment_id, 256), order_id, 201,
    JSON_OBJECT('id', order_id, 'status', status, 'items_amount', items_amount,
                'discount_amount', discount_amount, 'points_amount', points_amount,
                'card_amount', card_amount, 'total_amount', total_amount,
                'currency', '{currency}', 'coupon', coupon_code, 'placed_at', placed_at),
    CONCAT('/api/v1/orders/', order_id), placed_at
FROM filling_order WHERE placed_at > UTC_TIMESTAMP(6) - INTERVAL 1 DAY;
INSERT INTO shop_journalline (at, actor, actor_id, request_id, what, subject, order_id, after)
SELECT placed_at, 'account', account_id, payment_id, 'order.placed', CONCAT('order ', order_id), order_id,
    JSON_OBJECT('status', 'awaiting_payment', 'total_amount', total_amount)
FROM filling_order;

-- What is sold leaves the shelf: the level after each sale, and then the level itself.
INSERT INTO inventory_stockmovement (product_id, kind, delta, on_hand_after, order_id, at)
SELECT product_id, 'sold', -quantity, on_hand - SUM(quantity) OVER (PARTITION BY product_id ORDER BY n),
    order_id, ended_at
FROM filling_line JOIN filling_order USING (n) JOIN inventory_product ON id = product_id
WHERE status = 'paid';
INSERT INTO shop_journalline (at, actor, what, subject, order_id, `before`, after, is_internal)
SELECT movement.at, 'system', 'stock.sold', CONCAT('product ', product_id), order_id,
    JSON_OBJECT('on_hand', on_hand_after - delta), JSON_OBJECT('on_hand', on_hand_after), 1
FROM inventory_stockmovement AS movement JOIN filling_order USING (order_id);
UPDATE inventory_product JOIN (
    SELECT product_id, SUM(IF(status = 'paid', quantity, 0)) AS sold,
           SUM(IF(status = 'awaiting_payment', quantity, 0)) AS held
    FROM filling_line JOIN filling_order USING (n) GROUP BY product_id
) AS moved ON id = product_id
SET on_hand = on_hand - sold, reserved = reserved + held, version = version + 1;

-- The coupons that discounts came from: each account's, redeemed by its order.
SET @issued = (SELECT COUNT(*) FROM filling_order WHERE coupon_code <> '');
INSERT INTO coupons_campaign
    (name, strategy, quantity, issued, opens_at, code_source, eligible, discount_type,
    discount_value, coupon_valid_for_days, created_at)
SELECT 'Filled', 'group_commit', @issued, @issued, UTC_TIMESTAMP(6), 'generated', 'all', 'amount',
    {discount}, 30, UTC_TIMESTAMP(6)
FROM DUAL WHERE @issued > 0;
SET @campaign = LAST_INSERT_ID();
INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, order_id, issued_at, expires_at)
SELECT @campaign, account_id, coupon_code, ROW_NUMBER() OVER (ORDER BY n), 'redeemed', order_id, placed_at,
    placed_at + INTERVAL 30 DAY
FROM filling_order WHERE coupon_code <> '';

-- Payments and their sagas; a declined one keeps its payment too: the gateway was asked.
INSERT INTO payments_payment
    (id, account_id, order_id, status, points_amount, card_amount, currency, charge_key,
    charge_reference, failure_code, failure_detail, created_at, settled_at, number)
SELECT payment_id, account_id, order_id, IF(status = 'paid', 'succeeded', 'failed'), points_amount,
    card_amount, '{currency}', CONCAT('payment-', payment_id), charge_reference, failure_code,
    failure_detail, placed_at, ended_at, 1
FROM filling_order WHERE status IN ('paid', 'payment_failed');
INSERT INTO orders_saga
    (id, kind, subject_id, about_id, request_id, state, direction, failure_code, failure_detail,
    deadline_at, created_at, ended_at)
SELECT saga_id, 'purchase', payment_id, order_id, payment_id, IF(status = 'paid', 'done', 'compensated'),
    IF(status = 'paid', 'do', 'undo'), failure_code, failure_detail, placed_at + INTERVAL 900 SECOND,
    placed_at, ended_at
FROM filling_order WHERE status IN ('paid', 'payment_failed');
INSERT INTO orders_sagalog (saga_id, step, direction, event, reference, at)
SELECT saga_id, step, 'do',
    CASE WHEN step = 'hold_coupon' AND coupon_code = '' THEN 'skipped'
         WHEN step = 'debit_balance' AND points_amount = 0 THEN 'skipped'
         WHEN step = 'charge_card' AND status = 'payment_failed' THEN 'refused' ELSE 'done' END,
    IF(step = 'charge_card', charge_reference, ''), placed_at
FROM filling_order JOIN (
    SELECT 'reserve_inventory' AS step, 1 AS place UNION SELECT 'hold_coupon', 2
    UNION SELECT 'debit_balance', 3 UNION SELECT 'charge_card', 4 UNION SELECT 'settle', 5
) AS steps WHERE status = 'paid' OR status = 'payment_failed' AND place <= 4 ORDER BY n, place;
INSERT INTO orders_sagalog (saga_id, step, direction, event, at)
SELECT saga_id, step, 'undo', IF(step = 'reserve_inventory', 'done', 'skipped'), ended_at
FROM filling_order JOIN (
    SELECT 'charge_card' AS step, 1 AS place UNION SELECT 'reserve_inventory', 2 UNION SELECT 'hold_coupon', 3
    UNION SELECT 'debit_balance', 4
) AS steps WHERE status = 'payment_failed' ORDER BY n, place;
INSERT INTO shop_journalline (at, actor, request_id, what, subject, order_id, detail, reference)
SELECT log.at, 'system', payment_id,
    CONCAT(log.step, IF(log.direction = 'undo', '.undo', ''), '.', log.event),
    CONCAT('purchase ', payment_id), order_id, log.detail, log.reference
FROM filling_order JOIN orders_sagalog AS log USING (saga_id);

-- Grants, holds and sales. An account that pays with points is granted as many before: its wallet ends as it
-- began.
INSERT INTO payments_transfer (id, kind, reference, reason, at)
SELECT grant_id, 'grant', CONCAT('filled ', order_id), 'Filled', placed_at
FROM filling_order WHERE points_amount > 0;
INSERT INTO payments_transfer (id, kind, reference, order_id, at)
SELECT hold_id, 'hold', order_id, order_id, placed_at FROM filling_order WHERE points_amount > 0;
INSERT INTO payments_transfer (id, kind, reference, order_id, at)
SELECT sale_id, 'sale', order_id, order_id, ended_at FROM filling_order WHERE status = 'paid';
INSERT INTO payments_entry (transfer_id, account_id, amount, balance_after_amount)
SELECT grant_id, id, IF(id < 0, -points_amount, points_amount),
    IF(id < 0, NULL, balance_amount + points_amount)
FROM filling_order JOIN payments_ledgeraccount ON id IN (account_id, -4) WHERE points_amount > 0;
INSERT INTO payments_entry (transfer_id, account_id, amount, balance_after_amount)
SELECT hold_id, id, IF(id < 0, points_amount, -points_amount), IF(id < 0, NULL, balance_amount)
FROM filling_order JOIN payments_ledgeraccount ON id IN (account_id, -1) WHERE points_amount > 0;
INSERT INTO payments_entry (transfer_id, account_id, amount)
SELECT sale_id, id,
    CASE id WHEN -1 THEN -points_amount WHEN -2 THEN points_amount + card_amount ELSE -card_amount END
FROM filling_order JOIN payments_ledgeraccount ON id IN (-1, -2, -3)
WHERE status = 'paid' AND (id <> -1 OR points_amount > 0);
INSERT INTO shop_journalline (at, actor, what, subject, order_id, `before`, after)
SELECT ended_at, 'system', CONCAT('order.', status), CONCAT('order ', order_id), order_id,
    JSON_OBJECT('status', 'awaiting_payment'),
    JSON_OBJECT('order', order_id, 'account', account_id, 'total_amount', total_amount,
                'points_amount', points_amount, 'card_amount', card_amount, 'currency', '{currency}',
                'status', status)
FROM filling_order WHERE status <> 'awaiting_payment';
COMMIT;
"""
# The charges of those orders as the gateway simulator's book has them.
CHARGES = """
SELECT CONCAT('payment-', payment_id), order_id, CONCAT('ch_', REPLACE(payment_id, '-', '')),
    IF(status = 'paid', 'tok_ok', 'tok_declined'), IF(status = 'paid', 'succeeded', 'declined'),
    IF(status = 'paid', NULL, 'card_declined'), card_amount, '{currency}',
    DATE_FORMAT(placed_at, '%Y-%m-%dT%H:%i:%s.%fZ')
FROM filling_order WHERE status IN ('paid', 'payment_failed') AND card_amount > 0 ORDER BY n;
"""
# In the gateway's book.
BOOK_CHARGES = """
INSERT INTO charges (key, order_id, id, token, status, failure, amount, currency, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# What has become of a shop's rows after months. Its campaigns are over.
LIVED = """
UPDATE coupons_campaign SET opens_at = UTC_TIMESTAMP(6) - INTERVAL {hours} HOUR,
    closes_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR;

-- A closed sale, in which each account has one paid order of which it used an entry.
INSERT INTO sales_sale (name, opens_at, closes_at, admission, rate_per_minute, admitted_for_seconds, seed,
    seed_hash, entries_hash, drawn_at, is_ordered, ended_at, created_at)
SELECT 'Lived', opens_at, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, 'queue', 1000000, 604800, 'lived',
    SHA2('lived', 256), SHA2('', 256), opens_at, 1, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, opens_at
FROM (SELECT UTC_TIMESTAMP(6) - INTERVAL {hours} HOUR AS opens_at) AS began;
SET @sale = LAST_INSERT_ID();
INSERT INTO sales_saleentry (id, sale_id, account_id, status, position, is_current, created_at, admitted_at,
    admitted_until, rate_per_minute, order_id)
SELECT UUID(), @sale, account_id, 'used', ROW_NUMBER() OVER (ORDER BY placed_at), 1, placed_at, placed_at,
    placed_at + INTERVAL 7 DAY, 1000000, id
FROM orders_order JOIN (
    SELECT MIN(id) AS id FROM orders_order WHERE status = 'paid' GROUP BY account_id
) AS first_ones USING (id);
UPDATE sales_sale SET last_position = ROW_COUNT(), passed_position = last_position WHERE id = @sale;
UPDATE orders_orderline JOIN sales_saleentry USING (order_id) SET orders_orderline.sale_id = @sale;

-- An endpoint that was disabled long ago, and its owner is an account that has none of its rights.
INSERT INTO events_webhookendpoint
    (id, kind, url, events, secret, owner_id, created_at, disabled_at, disabled_by)
SELECT UUID(), 'program', 'https://lived.example/events', '["order.paid"]', 'lived', MIN(account_id),
    UTC_TIMESTAMP(6) - INTERVAL {hours} HOUR, UTC_TIMESTAMP(6) - INTERVAL 60 DAY, 'failures'
FROM filling_account;

-- The last orders that wait for their payment are being paid: their cards will be declined, tomorrow.
BEGIN;
UPDATE orders_order JOIN filling_order ON id = order_id SET orders_order.status = 'paying'
WHERE orders_order.status = 'awaiting_payment';
INSERT INTO payments_payment
    (id, account_id, order_id, status, card_amount, currency, token, charge_key, created_at, number)
SELECT payment_id, account_id, order_id, 'pending', card_amount, '{currency}', 'tok_declined',
    CONCAT('payment-', payment_id), placed_at, 1
FROM filling_order WHERE status = 'awaiting_payment';
INSERT INTO orders_saga
    (id, kind, subject_id, about_id, request_id, state, direction, next_attempt_at, deadline_at, created_at)
SELECT saga_id, 'purchase', payment_id, order_id, 'lived', 'running', 'do',
    UTC_TIMESTAMP(6) + INTERVAL 1 DAY, UTC_TIMESTAMP(6) + INTERVAL 2 DAY, placed_at
FROM filling_order WHERE status = 'awaiting_payment';
INSERT INTO orders_sagalog (saga_id, step, direction, event, at)
SELECT saga_id, step, 'do', IF(place = 1, 'done', 'skipped'), placed_at
FROM filling_order JOIN (
    SELECT 'reserve_inventory' AS step, 1 AS place
    UNION SELECT 'hold_coupon', 2 UNION SELECT 'debit_balance', 3
) AS steps WHERE status = 'awaiting_payment';
COMMIT;
"""


def join(instance: Instance, sale: int, *, count: int) -> None:
    """Let that many accounts join the waiting room of a sale that has not opened."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        _run(cursor, ACCOUNTS, count=count)
        _run(cursor, ENTRIES, count=count, sale=sale)


def fill(instance: Instance, *, coupons: int, orders: int, hours: int = RETAINED_HOURS) -> None:
    """Issue that many coupons of new campaigns, and place that many orders of new products in these last
    hours, their charges in the gateway's book. After more than a day the shop has also lived."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        # Columns that no file names get what the shop's models write as well: nothing, or 0.
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        if coupons:
            each = -(-coupons // CAMPAIGNS)
            _run(cursor, ACCOUNTS, count=each)
            for number in range(CAMPAIGNS):
                _run(cursor, CAMPAIGN, quantity=each)
                for first, last in _bites(min(each, coupons - number * each), BITE):
                    _run(cursor, COUPONS, first=first, last=last, code=CODE.format(number="number"))
        if orders:
            accounts = -(-orders // ORDERS_OF_AN_ACCOUNT)
            _run(cursor, ACCOUNTS, count=accounts)
            _run(cursor, PRODUCTS, on_hand=orders * UNITS_OF_AN_ORDER, count=orders, hours=hours)
            run = secrets.token_hex(2)[1:]
            code = CODE.format(number="n")
            # An account orders once in a bite, so that no balance changes twice in a statement.
            for first, last in _bites(orders, min(BITE, accounts)):
                _run(cursor, ORDERS, first=first, last=last, code=code, accounts=accounts, run=run)
                _run(cursor, CHARGES)
                # A book that may be in use.
                with closing(sqlite3.connect(instance.data / "gateway.sqlite3", timeout=30)) as book, book:
                    book.executemany(BOOK_CHARGES, cursor.fetchall())
        if hours > RETAINED_HOURS:
            _run(cursor, LIVED, hours=hours)


def _run(cursor: Any, statements: str, **values: object) -> None:
    for statement in statements.format(**SHARED, **values).split(";\n"):
        if statement.strip():
            cursor.execute(statement)


def _bites(count: int, size: int) -> Iterator[tuple[int, int]]:
    """From 1 to `count`, in pieces: the first and the last number of each."""
    for first in range(1, count + 1, size):
        yield first, min(first + size - 1, count)


if __name__ == "__main__":
    there = instances.remembered(places.state())
    if os.environ.get("LAB") != "1" or there is None or there.database != "mariadb":
        sys.exit("these rows are for measuring: set LAB=1, beside a MariaDB where no customers buy")
    fill(there, coupons=int(sys.argv[1]), orders=int(sys.argv[2]))
