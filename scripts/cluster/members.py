"""MySQL's members, one by one: what each says about itself, and the statements that change its group."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection

from scripts.cluster import credentials
from scripts.cluster.gtids import GtidSet
from scripts.cluster.layout import Cluster, numbers
from scripts.cluster.membership import View
from scripts.stack import ports

QUESTION_SECONDS = 2
JOIN_SECONDS = 3600
"""A member that is cloned answers when it has all data."""

_ITSELF = """
SELECT MEMBER_STATE, MEMBER_ROLE FROM performance_schema.replication_group_members
WHERE MEMBER_ID = @@server_uuid
"""
_OTHERS = "SELECT MEMBER_PORT, MEMBER_STATE FROM performance_schema.replication_group_members"
# What waits in the relay log was committed by the group, and acknowledged.
_RECEIVED = """
SELECT CONCAT_WS(',', @@GLOBAL.gtid_executed, (
  SELECT RECEIVED_TRANSACTION_SET FROM performance_schema.replication_connection_status
  WHERE CHANNEL_NAME = 'group_replication_applier'))
"""


@dataclass(frozen=True)
class Members:
    """The members of one cluster. Views keep their connections, so one thread may ask for them."""

    cluster: Cluster
    _kept: dict[int, Connection] = field(default_factory=dict)

    @contextmanager
    def connected(self, number: int, *, seconds: int = QUESTION_SECONDS) -> Iterator[Connection]:
        """A connection as administrator, which a member accepts in any state. Raises MySQLdb's errors."""
        with closing(self._connect(number, seconds)) as connection:
            yield connection

    def ask(
        self, number: int, question: str, *, seconds: int = QUESTION_SECONDS
    ) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement. Raises MySQLdb's errors."""
        with self.connected(number, seconds=seconds) as connection:
            return _rows(connection, question)

    def view(self, number: int) -> View | None:
        """What the member says, or None when it doesn't answer in time."""
        try:
            connection = self._kept.get(number) or self._connect(number, QUESTION_SECONDS)
            self._kept[number] = connection
            itself = _rows(connection, _ITSELF)
            state, role = itself[0] if itself else ("OFFLINE", "")
            received = str(_rows(connection, _RECEIVED)[0][0] or "")
            states = {int(port): str(state) for port, state in _rows(connection, _OTHERS) if port}
        except MySQLdb.Error:
            if lost := self._kept.pop(number, None):
                lost.close()
            return None
        return View(state=state, role=role, received=GtidSet.parse(received), states=states)

    def views(self) -> dict[int, View | None]:
        return {number: self.view(number) for number in numbers("mysql")}

    def primary(self) -> int | None:
        """The number of the member that writes, as it and most of the others say."""
        for number, view in self.views().items():
            if view is not None and view.role == "PRIMARY" and view.has_majority:
                return number
        return None

    def found(self, number: int) -> None:
        """Begin a group with this member as its first. Raises MySQLdb's errors."""
        with self.connected(number, seconds=JOIN_SECONDS) as connection:
            _leave(connection)
            _execute(connection, "SET GLOBAL group_replication_bootstrap_group = ON")
            try:
                self._start(connection)
            finally:
                # Or its next start would found a second group beside the first.
                _execute(connection, "SET GLOBAL group_replication_bootstrap_group = OFF")

    def join(self, number: int) -> None:
        """Have the member join the group that is there. Raises MySQLdb's errors; 2013 when it was cloned.

        Cloning ends with a shutdown. The supervisor starts the member again, and it joins once more.
        """
        with self.connected(number, seconds=JOIN_SECONDS) as connection:
            _leave(connection)
            # It is still on when the process that founded the group ended half-way.
            _execute(connection, "SET GLOBAL group_replication_bootstrap_group = OFF")
            self._start(connection)

    def _connect(self, number: int, seconds: int) -> Connection:
        return MySQLdb.connect(
            host=ports.HOST,
            port=self.cluster.port("mysql", number),
            user="cluster",
            passwd=credentials.read(self.cluster)["mysql-administrator"],
            connect_timeout=QUESTION_SECONDS,
            read_timeout=seconds,
            write_timeout=seconds,
            autocommit=True,
        )

    def _start(self, connection: Connection) -> None:
        password = credentials.read(self.cluster)["mysql-replication"]
        _execute(connection, f"START GROUP_REPLICATION USER = 'replication', PASSWORD = '{password}'")


def _leave(connection: Connection) -> None:
    """Out of a group that has ended for it, and open to connections again."""
    _execute(connection, "STOP GROUP_REPLICATION")
    _execute(connection, "SET GLOBAL offline_mode = OFF")


def _rows(connection: Connection, question: str) -> Sequence[tuple[Any, ...]]:
    with closing(connection.cursor()) as cursor:
        cursor.execute(question)
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _execute(connection: Connection, statement: str) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)
