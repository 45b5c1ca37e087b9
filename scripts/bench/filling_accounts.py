"""Whom filled coupons and orders belong to: the accounts that there are, and as many more as it takes."""

from django.db import connection

# Nobody signs in to these: no hash begins with an exclamation mark.
OPEN = """
INSERT INTO auth_user (username, password, first_name, last_name, email,
                       is_superuser, is_staff, is_active, date_joined)
SELECT CONCAT('filled-', (SELECT COALESCE(MAX(id), 0) FROM auth_user) + seq), '!', '', '', '',
       0, 0, 1, UTC_TIMESTAMP(6)
FROM seq_1_to_{missing}
"""
NUMBERED = """
CREATE OR REPLACE TEMPORARY TABLE filling_account (number INT PRIMARY KEY, account_id INT NOT NULL)
SELECT ROW_NUMBER() OVER (ORDER BY id) AS number, id AS account_id
FROM (SELECT id FROM auth_user WHERE is_active ORDER BY id LIMIT {count}) AS first_ones
"""


def choose(count: int) -> None:
    """Number the first `count` active accounts from 1, in the table `filling_account` of this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM auth_user WHERE is_active")
        missing = count - cursor.fetchone()[0]
        if missing > 0:
            cursor.execute(OPEN.format(missing=missing))
        cursor.execute(NUMBERED.format(count=count))
