"""MySQL's members, one by one: what each says about itself, and the statements that change its group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import MySQLdb
from MySQLdb.connections import Connection

from lab.cluster import credentials, templates
from lab.cluster.group_replication.gtids import GtidSet
from lab.cluster.group_replication.membership import View
from lab.cluster.layout import Cluster
from lab.cluster.members import Condition, Servers, execute, rows

JOIN_SECONDS = 3600
"""A member that is cloned answers when it has all data."""
SWITCH_SECONDS = 60

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
_LAG = """
  SELECT COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE, COUNT_TRANSACTIONS_IN_QUEUE, (SELECT
  IFNULL(TIMESTAMPDIFF(SECOND, MIN(NULLIF(APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, 0)), NOW()), 0) FROM
  performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = 'group_replication_applier')
  FROM performance_schema.replication_group_member_stats WHERE MEMBER_ID = @@server_uuid
"""


@dataclass(frozen=True)
class GroupMembers:
    """The members of one cluster. Views keep their connections, so one thread may ask for them."""

    servers: Servers

    @classmethod
    def of(cls, cluster: Cluster) -> "GroupMembers":
        return cls(Servers(cluster))

    def view(self, number: int) -> View | None:
        """What the member says, or None when it doesn't answer in time."""
        try:
            connection = self.servers.kept(number)
            itself = rows(connection, _ITSELF)
            state, role = itself[0] if itself else ("OFFLINE", "")
            received = str(rows(connection, _RECEIVED)[0][0] or "")
            states = {int(port): str(state) for port, state in rows(connection, _OTHERS) if port}
        except MySQLdb.Error:
            self.servers.drop(number)
            return None
        return View(state=state, role=role, received=GtidSet.parse(received), states=states)

    def views(self) -> dict[int, View | None]:
        return {number: self.view(number) for number in self.servers.numbers}

    def conditions(self) -> Mapping[int, Condition]:
        """Each member's state, role and lag."""
        return {number: self._condition(number, view) for number, view in self.views().items()}

    def primary(self) -> int | None:
        """The number of the member that writes, as it and most of the others say."""
        for number, view in self.views().items():
            if view is not None and view.role == "PRIMARY" and view.has_majority:
                return number
        return None

    def found(self, number: int) -> None:
        """Begin a group with this member as its first. Raises MySQLdb's errors."""
        with self.servers.connected(number, seconds=JOIN_SECONDS) as connection:
            _leave(connection)
            execute(connection, "SET GLOBAL group_replication_bootstrap_group = ON")
            try:
                self._start(connection)
            finally:
                # Or its next start would found a second group beside the first.
                execute(connection, "SET GLOBAL group_replication_bootstrap_group = OFF")

    def join(self, number: int) -> None:
        """Have the member join the group that is there. Raises MySQLdb's errors; 2013 when it was cloned.

        Cloning ends with a shutdown. The supervisor starts the member again, and it joins once more.
        """
        with self.servers.connected(number, seconds=JOIN_SECONDS) as connection:
            _leave(connection)
            # It is still on when the process that founded the group ended half-way.
            execute(connection, "SET GLOBAL group_replication_bootstrap_group = OFF")
            self._start(connection)

    def make_primary(self, number: int) -> None:
        """Have another member write; returns when it does. Raises MySQLdb's errors."""
        statement = f"SELECT group_replication_set_as_primary('{templates.member_uuid(number)}')"
        self.servers.ask(number, statement, seconds=SWITCH_SECONDS)

    def behind(self, primary: int) -> Sequence[str]:
        """What members lack of what the primary has executed. Raises MySQLdb's errors."""
        executed = {number: self._executed(number) for number in self.servers.numbers}
        return [
            f"member {number} lacks {lacking} transactions of member {primary}"
            for number, known in executed.items()
            if (lacking := executed[primary] - known)
        ]

    def forget_history(self, number: int) -> None:
        """Purge the binary logs. Raises MySQLdb's errors."""
        with self.servers.connected(number, seconds=30) as connection:
            for statement in ("FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"):
                execute(connection, statement)

    def copied(self, number: int) -> bool:
        """Whether it was cloned. Raises MySQLdb's errors."""
        return self.servers.ask(number, "SELECT STATE FROM performance_schema.clone_status") == (
            ("Completed",),
        )

    def _executed(self, number: int) -> GtidSet:
        return GtidSet.parse(str(self.servers.ask(number, "SELECT @@GLOBAL.gtid_executed")[0][0]))

    def _condition(self, number: int, view: View | None) -> Condition:
        if view is None:
            return Condition("does not answer")
        is_online = view.state == "ONLINE"
        text = f"{view.state} {view.role}".strip()
        return Condition(
            f"{text}{self._lag(number)}", is_online, is_primary=is_online and view.role == "PRIMARY"
        )

    def _lag(self, number: int) -> str:
        try:
            ((to_apply, to_certify, seconds),) = self.servers.ask(number, _LAG)
        except (MySQLdb.Error, ValueError):
            return ""
        behind = max(0, int(seconds or 0))
        return f", {to_apply} transactions to apply, {to_certify} to certify, {behind} s behind"

    def _start(self, connection: Connection) -> None:
        password = credentials.read(self.servers.cluster)["mysql-replication"]
        execute(connection, f"START GROUP_REPLICATION USER = 'replication', PASSWORD = '{password}'")


def _leave(connection: Connection) -> None:
    """Out of a group that has ended for it, and open to connections again."""
    execute(connection, "STOP GROUP_REPLICATION")
    execute(connection, "SET GLOBAL offline_mode = OFF")
