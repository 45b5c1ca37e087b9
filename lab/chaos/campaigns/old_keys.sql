-- Keys whose time is over one by one, within the next minutes.
INSERT INTO shop_idempotencykey (account_id, key_hash, fingerprint, status, body, location, created_at)
SELECT (SELECT MIN(id) FROM auth_user), SHA2(CONCAT('campaign ', seq), 256), REPEAT('0', 64), 201, '{}', '',
    UTC_TIMESTAMP(6) - INTERVAL 1 DAY + INTERVAL seq SECOND FROM seq_1_to_300_step_5
