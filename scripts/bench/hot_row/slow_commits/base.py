"""A backend whose COMMIT takes longer while its transaction holds its locks, as synchronous replication does.

The wait runs in the server, in the packet of the COMMIT: it costs no round trip and no processor time. A
transaction that wrote nothing commits as quickly as ever, because it has nothing to replicate.
"""

from typing import Any

from shop.db.mysql.pipelined import base

WAIT = "DO SLEEP(%.4f)"
latency_ms = 0.0
"""Of the commits of this process."""


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._has_written = False

    def execute_deferred(self, statement: str, parameters: Any = None) -> None:
        self._has_written = True
        super().execute_deferred(statement, parameters)

    def _start_transaction_under_autocommit(self) -> None:
        self._has_written = False
        super()._start_transaction_under_autocommit()

    def _send_commit(self) -> None:
        if latency_ms and self._has_written:
            self._deferred.append((WAIT % (latency_ms / 1000)).encode())
        super()._send_commit()
