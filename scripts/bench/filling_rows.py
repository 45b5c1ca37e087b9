"""The rows of a bite of orders, copied from `filling_order` and `filling_line`, one statement a story.

Parents come before their children. Lines of the journal are those that the real steps note.
"""

ORDERS = """
INSERT INTO orders_order (id, account_id, status, items_amount, discount_amount, points_amount, card_amount,
                          total_amount, refunded_amount, currency, coupon_code, placed_at, expires_at,
                          paid_at, ended_at, failure_code, failure_detail)
SELECT order_id, account_id, status, items_amount, discount_amount, points_amount, card_amount,
       items_amount - discount_amount, 0, %(currency)s, coupon_code, placed_at,
       IF(status = 'awaiting_payment', UTC_TIMESTAMP(6) + INTERVAL 2 DAY, placed_at + INTERVAL 900 SECOND),
       IF(status = 'paid', ended_at, NULL), IF(status = 'paid', NULL, ended_at),
       IF(status = 'payment_failed', 'card_declined', ''),
       IF(status = 'payment_failed', 'The card was declined.', '')
FROM filling_order
"""
ORDER_LINES = """
INSERT INTO orders_orderline (order_id, product_id, sku, name, quantity, unit_price, line_amount,
                              discount_amount, refunded_quantity)
SELECT order_id, product_id, sku, name, quantity, line.price, quantity * line.price, discount_amount, 0
FROM filling_line AS line JOIN filling_order USING (n) JOIN inventory_product ON id = product_id
"""
KEYS = """
INSERT INTO shop_idempotencykey (account_id, key_hash, fingerprint, reference, status, body, location,
                                 created_at)
SELECT account_id, SHA2(order_id, 256), SHA2(payment_id, 256), order_id, 201,
       JSON_OBJECT('id', order_id, 'status', status, 'items_amount', items_amount,
                   'discount_amount', discount_amount, 'points_amount', points_amount,
                   'card_amount', card_amount, 'total_amount', items_amount - discount_amount,
                   'currency', %(currency)s, 'coupon', coupon_code, 'placed_at', placed_at),
       CONCAT('/api/v1/orders/', order_id), placed_at
FROM filling_order
"""
PLACED = """
INSERT INTO shop_journalline (at, actor, actor_id, actor_name, request_id, what, subject, order_id, after,
                              detail, reference, is_internal, delivery, attempts, last_error)
SELECT placed_at, 'account', account_id, '', payment_id, 'order.placed', CONCAT('order ', order_id), order_id,
       JSON_OBJECT('status', 'awaiting_payment', 'total_amount', items_amount - discount_amount),
       '', '', 0, '', 0, ''
FROM filling_order
"""
# What is sold leaves the shelf: the level after each sale, and then the level itself.
MOVEMENTS = """
INSERT INTO inventory_stockmovement (product_id, kind, delta, on_hand_after, order_id, reason, at)
SELECT product_id, 'sold', -quantity,
       on_hand - SUM(quantity) OVER (PARTITION BY product_id ORDER BY n), order_id, '', ended_at
FROM filling_line JOIN filling_order USING (n) JOIN inventory_product ON id = product_id
WHERE status = 'paid'
"""
SOLD = """
INSERT INTO shop_journalline (at, actor, actor_name, request_id, what, subject, order_id, `before`, after,
                              detail, reference, is_internal, delivery, attempts, last_error)
SELECT movement.at, 'system', '', '', 'stock.sold', CONCAT('product ', product_id), order_id,
       JSON_OBJECT('on_hand', on_hand_after - delta), JSON_OBJECT('on_hand', on_hand_after),
       '', '', 1, '', 0, ''
FROM inventory_stockmovement AS movement JOIN filling_order USING (order_id)
"""
STOCK = """
UPDATE inventory_product JOIN (
    SELECT product_id, SUM(IF(status = 'paid', quantity, 0)) AS sold,
           SUM(IF(status = 'awaiting_payment', quantity, 0)) AS held
    FROM filling_line JOIN filling_order USING (n) GROUP BY product_id
) AS moved ON id = product_id
SET on_hand = on_hand - sold, reserved = reserved + held, version = version + 1
"""
# The coupons that discounts came from: each account's, redeemed by its order.
COUPONS_COUNTED = """
UPDATE coupons_campaign SET issued = quantity WHERE id = %(campaign)s
"""
COUPONS = """
INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, order_id, void_reason, issued_at,
                            expires_at)
SELECT %(campaign)s, account_id, coupon_code, ROW_NUMBER() OVER (ORDER BY n), 'redeemed', order_id, '',
       placed_at, placed_at + INTERVAL 30 DAY
FROM filling_order WHERE coupon_code <> ''
"""
# A declined one keeps its payment too: the gateway was asked.
PAYMENTS = """
INSERT INTO payments_payment (id, account_id, order_id, status, points_amount, card_amount, refunding_amount,
                              refunded_amount, currency, token, charge_key, charge_reference, failure_code,
                              failure_detail, created_at, settled_at)
SELECT payment_id, account_id, order_id, IF(status = 'paid', 'succeeded', 'failed'), points_amount,
       card_amount, 0, 0, %(currency)s, '', CONCAT('payment-', payment_id),
       IF(status = 'paid', CONCAT('ch_', REPLACE(payment_id, '-', '')), ''),
       IF(status = 'paid', '', 'card_declined'), IF(status = 'paid', '', 'The card was declined.'),
       placed_at, ended_at
FROM filling_order WHERE status IN ('paid', 'payment_failed')
"""
SAGAS = """
INSERT INTO orders_saga (id, kind, subject_id, about_id, request_id, state, direction, attempts, failure_code,
                         failure_detail, last_error, lease_token, deadline_at, created_at, ended_at)
SELECT saga_id, 'purchase', payment_id, order_id, payment_id, IF(status = 'paid', 'done', 'compensated'),
       IF(status = 'paid', 'do', 'undo'), 0, IF(status = 'paid', '', 'card_declined'),
       IF(status = 'paid', '', 'The card was declined.'), '', '', placed_at + INTERVAL 900 SECOND, placed_at,
       ended_at
FROM filling_order WHERE status IN ('paid', 'payment_failed')
"""
DONE = """
INSERT INTO orders_sagalog (saga_id, step, direction, attempt, event, detail, reference, at)
SELECT saga_id, step, 'do', 0,
       CASE WHEN step = 'hold_coupon' AND coupon_code = '' THEN 'skipped'
            WHEN step = 'debit_balance' AND points_amount = 0 THEN 'skipped'
            WHEN step = 'charge_card' AND status = 'payment_failed' THEN 'refused' ELSE 'done' END,
       '', IF(step = 'charge_card', CONCAT('ch_', REPLACE(payment_id, '-', '')), ''), placed_at
FROM filling_order
JOIN (SELECT 'reserve_inventory' AS step, 1 AS place UNION SELECT 'hold_coupon', 2
      UNION SELECT 'debit_balance', 3 UNION SELECT 'charge_card', 4
      UNION SELECT 'settle', 5 UNION SELECT 'transmit', 6) AS steps
WHERE status = 'paid' OR status = 'payment_failed' AND place <= 4
ORDER BY n, place
"""
UNDONE = """
INSERT INTO orders_sagalog (saga_id, step, direction, attempt, event, detail, reference, at)
SELECT saga_id, step, 'undo', 0, IF(step = 'reserve_inventory', 'done', 'skipped'), '', '', ended_at
FROM filling_order
JOIN (SELECT 'charge_card' AS step, 1 AS place UNION SELECT 'reserve_inventory', 2
      UNION SELECT 'hold_coupon', 3 UNION SELECT 'debit_balance', 4) AS steps
WHERE status = 'payment_failed'
ORDER BY n, place
"""
STEPS_TOLD = """
INSERT INTO shop_journalline (at, actor, actor_name, request_id, what, subject, order_id, detail, reference,
                              is_internal, delivery, attempts, last_error)
SELECT log.at, 'system', '', payment_id,
       CONCAT(log.step, IF(log.direction = 'undo', '.undo', ''), '.', log.event),
       CONCAT('purchase ', payment_id), order_id, log.detail, log.reference, 0, '', 0, ''
FROM filling_order JOIN orders_sagalog AS log USING (saga_id)
"""
# Who pays with points is granted as many before, so the wallet ends as it began.
GRANTS = """
INSERT INTO payments_transfer (id, kind, reference, order_id, reason, at)
SELECT grant_id, 'grant', CONCAT('filled ', order_id), NULL, 'Filled', placed_at
FROM filling_order WHERE points_amount > 0
"""
HOLDS = """
INSERT INTO payments_transfer (id, kind, reference, order_id, reason, at)
SELECT hold_id, 'hold', order_id, order_id, '', placed_at FROM filling_order WHERE points_amount > 0
"""
SALES = """
INSERT INTO payments_transfer (id, kind, reference, order_id, reason, at)
SELECT sale_id, 'sale', order_id, order_id, '', ended_at FROM filling_order WHERE status = 'paid'
"""
GRANT_ENTRIES = """
INSERT INTO payments_entry (transfer_id, account_id, amount, balance_after_amount)
SELECT grant_id, id, IF(id < 0, -points_amount, points_amount),
       IF(id < 0, NULL, balance_amount + points_amount)
FROM filling_order JOIN payments_ledgeraccount ON id IN (account_id, -4)
WHERE points_amount > 0
"""
HOLD_ENTRIES = """
INSERT INTO payments_entry (transfer_id, account_id, amount, balance_after_amount)
SELECT hold_id, id, IF(id < 0, points_amount, -points_amount), IF(id < 0, NULL, balance_amount)
FROM filling_order JOIN payments_ledgeraccount ON id IN (account_id, -1)
WHERE points_amount > 0
"""
SALE_ENTRIES = """
INSERT INTO payments_entry (transfer_id, account_id, amount, balance_after_amount)
SELECT sale_id, id, CASE id WHEN -1 THEN -points_amount WHEN -2 THEN points_amount + card_amount
                            ELSE -card_amount END, NULL
FROM filling_order JOIN payments_ledgeraccount ON id IN (-1, -2, -3)
WHERE status = 'paid' AND (id <> -1 OR points_amount > 0)
"""
TOLD = """
INSERT INTO shop_journalline (at, actor, actor_name, request_id, what, subject, order_id, `before`, after,
                              detail, reference, is_internal, delivery, attempts, delivered_at, last_error)
SELECT ended_at, 'system', '', '', CONCAT('order.', status), CONCAT('order ', order_id), order_id,
       JSON_OBJECT('status', 'awaiting_payment'),
       JSON_OBJECT('order', order_id, 'account', account_id, 'total_amount', items_amount - discount_amount,
                   'points_amount', points_amount, 'card_amount', card_amount, 'currency', %(currency)s,
                   'status', status),
       '', '', 0, IF(status IN ('paid', 'cancelled'), 'delivered', ''),
       IF(status IN ('paid', 'cancelled'), 1, 0),
       IF(status IN ('paid', 'cancelled'), ended_at, NULL), ''
FROM filling_order WHERE status <> 'awaiting_payment'
"""

STATEMENTS = (
    *(ORDERS, ORDER_LINES, KEYS, PLACED),
    *(MOVEMENTS, SOLD, STOCK),
    *(COUPONS_COUNTED, COUPONS),
    *(PAYMENTS, SAGAS, DONE, UNDONE, STEPS_TOLD),
    *(GRANTS, HOLDS, SALES, GRANT_ENTRIES, HOLD_ENTRIES, SALE_ENTRIES),
    TOLD,
)
