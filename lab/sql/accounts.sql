-- The first {count} active accounts, numbered from 1; those that are missing are made. A hash never begins
-- with an exclamation mark: no password fits.
INSERT INTO auth_user (username, password, is_active, date_joined)
SELECT CONCAT('filled-', there.last + seq), '!', 1, UTC_TIMESTAMP(6)
FROM seq_1_to_{count} JOIN (
    SELECT COALESCE(MAX(id), 0) AS last, COUNT(IF(is_active, 1, NULL)) AS active FROM auth_user
) AS there WHERE seq <= {count} - there.active;
CREATE OR REPLACE TEMPORARY TABLE filling_account (number INT PRIMARY KEY, account_id INT NOT NULL)
SELECT ROW_NUMBER() OVER (ORDER BY id) AS number, id AS account_id
FROM (SELECT id FROM auth_user WHERE is_active ORDER BY id LIMIT {count}) AS first_ones;
