"""The MySQL backend of a secondary: statements that write or lock never leave the process."""

from typing import Any

from django.db.transaction import TransactionManagementError

from foundation.db.mysql import base
from foundation.db.plain_reads import refuse_writes


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.execute_wrappers.append(refuse_writes)

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")

    def set_autocommit(self, autocommit: bool, *arguments: Any, **named: Any) -> None:
        if not autocommit:
            raise TransactionManagementError("A secondary has no transactions: it decides nothing.")
        super().set_autocommit(autocommit, *arguments, **named)
