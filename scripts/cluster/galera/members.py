"""MariaDB's members, one by one: what each says about itself, and the statements that change who writes."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import MySQLdb
from MySQLdb.connections import Connection

from scripts.cluster.galera import membership, waiting
from scripts.cluster.galera.membership import WAITING, Position, View, Writer
from scripts.cluster.layout import Cluster
from scripts.cluster.members import QUESTION_SECONDS, Condition, Servers, execute, rows
from scripts.stack import SetupError

SWITCH_SECONDS = 60
CLOSE_SECONDS = 30
"""Closing waits for statements under way."""
# SHOW works in a member that has lost the others, where SELECT is refused (1047).
_STATUS = """
SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status', 'wsrep_cluster_conf_id',
  'wsrep_local_state_comment', 'wsrep_local_state_uuid', 'wsrep_last_committed')
"""
_CLOSED = "SHOW GLOBAL VARIABLES LIKE 'read_only'"
_WRITER = "SELECT member, node, former FROM cluster.writer WHERE id = 1"
_REACHED = "SELECT node_incoming_address, node_uuid FROM mysql.wsrep_cluster_members"
_APPOINT = """
UPDATE cluster.writer SET former = LEFT(CONCAT_WS(',', NULLIF(node, ''), NULLIF(former, '')), 1000),
  appointed_at = NOW(6), member = {number}, node = (SELECT VARIABLE_VALUE
  FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'WSREP_GCOMM_UUID') WHERE id = 1
"""
# The statements after it see all that was committed anywhere before it began.
_CAUSAL = "SET SESSION wsrep_sync_wait = 15"
_LAST_COMMITTED = "SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'"


@dataclass(frozen=True)
class GaleraMembers:
    """The members of one cluster. Views keep their connections, so one thread may ask for them."""

    servers: Servers
    _asked: dict[int, "Future[View | None]"] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)

    @classmethod
    def of(cls, cluster: Cluster) -> "GaleraMembers":
        return cls(Servers(cluster))

    def view(self, number: int) -> View | None:
        """What the member says, or None when it doesn't answer in time."""
        position = waiting.position_of(self.servers.cluster, number)
        if position is not None:
            return View(state=WAITING, position=position)
        try:
            return self._view(self.servers.kept(number))
        except MySQLdb.Error:
            self.servers.drop(number)
            return None

    def views(self, *, within_seconds: float = QUESTION_SECONDS) -> dict[int, View | None]:
        """What the members say, as far as they answer in time. One that is frozen is asked no second time."""
        for number in self.servers.numbers:
            if number not in self._asked:
                self._asked[number] = self._pool.submit(self.view, number)
        wait(self._asked.values(), timeout=within_seconds)
        answered = {
            number: self._asked.pop(number) for number, asked in [*self._asked.items()] if asked.done()
        }
        return {
            number: answered[number].result() if number in answered else None
            for number in self.servers.numbers
        }

    def conditions(self) -> Mapping[int, Condition]:
        """Each member's state, what it has still to apply, and which one writes."""
        views = self.views()
        primary = membership.writer(views)
        return {number: _condition(view, number == primary) for number, view in views.items()}

    def primary(self) -> int | None:
        """The number of the member that writes."""
        return membership.writer(self.views())

    def appoint(self, number: int) -> None:
        """Name this member the writer, by a statement on itself. Raises MySQLdb's errors.

        Two such statements on two members are one conflict, of which Galera refuses one.
        """
        with self.servers.connected(number, seconds=CLOSE_SECONDS) as connection:
            execute(connection, _CAUSAL)
            execute(connection, _APPOINT.format(number=number))

    def close(self, number: int) -> None:
        """Take no more writes of the shop; returns when commits under way are done.

        Raises MySQLdb's errors.
        """
        with self.servers.connected(number, seconds=CLOSE_SECONDS) as connection:
            execute(connection, "SET GLOBAL read_only = ON")

    def open(self, number: int) -> None:
        """Take writes, once all is applied that any member had committed. Raises MySQLdb's errors."""
        with self.servers.connected(number, seconds=CLOSE_SECONDS) as connection:
            execute(connection, _CAUSAL)
            if rows(connection, _WRITER)[0][0] == number:
                execute(connection, "SET GLOBAL read_only = OFF")

    def revive(self, number: int) -> None:
        """Make this running member the primary component. Raises MySQLdb's errors."""
        with self.servers.connected(number) as connection:
            execute(connection, "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")

    def found(self, number: int) -> None:
        """Have the member that waits start as the first one."""
        waiting.order_to_found(self.servers.cluster, number)

    def make_primary(self, number: int) -> None:
        """Have another member write, by the keeper. Raises SetupError and MySQLdb's errors."""
        self.appoint(number)
        deadline = time.monotonic() + SWITCH_SECONDS
        while self.primary() != number:
            if time.monotonic() > deadline:
                raise SetupError(
                    f"member {number} was appointed, and does not write after {SWITCH_SECONDS} s"
                )
            time.sleep(0.1)

    def behind(self, primary: int) -> Sequence[str]:
        """What members have still to apply of what the writer has committed. Raises MySQLdb's errors."""
        wanted = self._last_committed(primary)
        others = [number for number in self.servers.numbers if number != primary]
        found = {number: self._last_committed(number) for number in others}
        return [
            f"member {number} lacks {wanted - known} transactions of member {primary}"
            for number, known in found.items()
            if known < wanted
        ]

    def forget_history(self, number: int) -> None:
        """A member without data is copied whatever the others have kept."""

    def copied(self, number: int) -> bool:
        """A member whose data were removed can have come back by a whole copy alone."""
        return self._last_committed(number) > 0

    def _last_committed(self, number: int) -> int:
        return int(self.servers.ask(number, _LAST_COMMITTED)[0][1])

    def _view(self, connection: Connection) -> View:
        status = dict(rows(connection, _STATUS))
        is_ready = status["wsrep_ready"] == "ON"
        writer, reached = Writer(), {}
        if is_ready:
            ((member, node, former),) = rows(connection, _WRITER)
            writer = Writer(member, node, frozenset(former.split(",")))
            first = self.servers.cluster.port("mariadb") - 1
            for address, node in rows(connection, _REACHED):
                reached[int(address.rpartition(":")[2]) - first] = str(node)
        return View(
            state=status["wsrep_local_state_comment"],
            position=Position(status["wsrep_local_state_uuid"], int(status["wsrep_last_committed"])),
            is_primary=status["wsrep_cluster_status"] == "Primary",
            is_ready=is_ready,
            is_open=rows(connection, _CLOSED)[0][1] == "OFF",
            configuration=int(status["wsrep_cluster_conf_id"]),
            reached=reached,
            writer=writer,
        )


def _condition(view: View | None, is_writer: bool) -> Condition:
    if view is None:
        return Condition("does not answer")
    if view.state == WAITING:
        return Condition(f"{WAITING} at transaction {view.position.number}")
    role = "writer" if is_writer else "open, and not the writer" if view.is_open else "secondary"
    where = "" if view.is_primary else ", outside of the primary component"
    text = f"{view.state} {role}{where}, at transaction {view.position.number}"
    return Condition(text, view.is_usable and view.is_open == is_writer, is_primary=is_writer)
