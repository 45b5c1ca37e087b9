-- In the gateway's book.
INSERT INTO charges (key, order_id, id, token, status, failure, amount, currency, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
