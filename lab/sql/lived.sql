-- What has become of a shop's rows after months. Its campaigns are over.
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
INSERT INTO events_webhookendpoint (id, kind, url, events, secret, owner_id, created_at, disabled_at, disabled_by)
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
    SELECT 'reserve_inventory' AS step, 1 AS place UNION SELECT 'hold_coupon', 2 UNION SELECT 'debit_balance', 3
) AS steps WHERE status = 'awaiting_payment';
COMMIT;
