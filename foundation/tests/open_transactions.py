"""Transactions that other connections have open on the test's database."""

from django.db import connection


def of_others() -> list[int]:
    """The ids of their connections."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.id FROM information_schema.innodb_trx t"
            " JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
            " WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()"
        )
        return [row[0] for row in cursor.fetchall()]
