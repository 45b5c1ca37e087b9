-- The charges of those orders as the gateway simulator's book has them.
SELECT CONCAT('payment-', payment_id), order_id, CONCAT('ch_', REPLACE(payment_id, '-', '')),
    IF(status = 'paid', 'tok_ok', 'tok_declined'), IF(status = 'paid', 'succeeded', 'declined'),
    IF(status = 'paid', NULL, 'card_declined'), card_amount, '{currency}',
    DATE_FORMAT(placed_at, '%Y-%m-%dT%H:%i:%s.%fZ')
FROM filling_order WHERE status IN ('paid', 'payment_failed') AND card_amount > 0 ORDER BY n;
