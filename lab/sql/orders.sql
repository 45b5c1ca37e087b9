-- The orders from {first} to {last} of the period, ended in all ways, with every row that a real one leaves
-- behind. What becomes of each is decided first. Orders with a coupon have one line, which bears the whole
-- discount.
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
    card_amount, '{currency}', CONCAT('payment-', payment_id), charge_reference, failure_code, failure_detail, placed_at,
    ended_at, 1
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
