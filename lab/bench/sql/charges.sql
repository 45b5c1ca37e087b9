-- The charges of those orders as the gateway simulator's book has them; the last column is what a call asked, in the
-- bytes that the simulator compares a repeated call with.
SELECT CONCAT('payment-', payment_id), order_id, CONCAT('ch_', REPLACE(payment_id, '-', '')),
    IF(status = 'paid', 'tok_ok', 'tok_declined'), IF(status = 'paid', 'succeeded', 'declined'),
    IF(status = 'paid', NULL, 'card_declined'), card_amount, '{currency}',
    DATE_FORMAT(placed_at, '%Y-%m-%dT%H:%i:%s.%fZ'),
    CAST(CONCAT('{{"token":"', IF(status = 'paid', 'tok_ok', 'tok_declined'), '","amount":', card_amount,
        ',"currency":"{currency}","order":"', order_id, '"}}') AS BINARY)
FROM filling_order WHERE status IN ('paid', 'payment_failed') AND card_amount > 0 ORDER BY n;
