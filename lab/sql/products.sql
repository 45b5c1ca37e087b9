-- New products with {on_hand} of each on hand, numbered from 0; and wallets for the accounts.
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
