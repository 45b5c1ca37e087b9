"""The database's members, one by one: what can be asked of them whichever database the cluster has."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import MySQLdb
from MySQLdb.connections import Connection

from scripts.cluster import credentials
from scripts.cluster.layout import Cluster, numbers
from scripts.stack import ports

QUESTION_SECONDS = 2


@dataclass(frozen=True)
class Condition:
    """What a member says of itself, as the status shows it."""

    text: str
    is_online: bool = False
    is_primary: bool = False


class Members(Protocol):
    """The members of one cluster. Views keep their connections, so one thread may ask for them."""

    @property
    def servers(self) -> "Servers": ...

    def conditions(self) -> Mapping[int, Condition]:
        """Each member's condition."""

    def primary(self) -> int | None:
        """The number of the member that writes, as it and most of the others say."""

    def make_primary(self, number: int) -> None:
        """Have another member write; returns when it does. Raises SetupError and MySQLdb's errors."""

    def behind(self, primary: int) -> Sequence[str]:
        """What members lack of what the primary has. Raises MySQLdb's errors."""

    def forget_history(self, number: int) -> None:
        """Have the member keep nothing from which another could catch up. Raises MySQLdb's errors."""

    def copied(self, number: int) -> bool:
        """Whether the member got a whole copy when it came back last. Raises MySQLdb's errors."""


@dataclass(frozen=True)
class Servers:
    """Connections to the members as administrator, which they accept in any state."""

    cluster: Cluster
    _kept: dict[int, Connection] = field(default_factory=dict)

    @property
    def numbers(self) -> range:
        return numbers(self.cluster.database)

    def name(self, number: int) -> str:
        """The name of its process."""
        return f"{self.cluster.database}-{number}"

    @contextmanager
    def connected(self, number: int, *, seconds: int = QUESTION_SECONDS) -> Iterator[Connection]:
        """A connection of its own. Raises MySQLdb's errors."""
        with closing(self._connect(number, seconds)) as connection:
            yield connection

    def ask(
        self, number: int, question: str, *, seconds: int = QUESTION_SECONDS
    ) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement. Raises MySQLdb's errors."""
        with self.connected(number, seconds=seconds) as connection:
            return rows(connection, question)

    def kept(self, number: int) -> Connection:
        """The connection that is used again for each view. Raises MySQLdb's errors."""
        connection = self._kept.get(number) or self._connect(number, QUESTION_SECONDS)
        self._kept[number] = connection
        return connection

    def drop(self, number: int) -> None:
        """Close the kept connection, which does not answer."""
        if lost := self._kept.pop(number, None):
            lost.close()

    def _connect(self, number: int, seconds: int) -> Connection:
        return MySQLdb.connect(
            host=ports.HOST,
            port=self.cluster.port(self.cluster.database, number),
            user="cluster",
            passwd=credentials.read(self.cluster)["mysql-administrator"],
            connect_timeout=QUESTION_SECONDS,
            read_timeout=seconds,
            write_timeout=seconds,
            autocommit=True,
        )


def rows(connection: Connection, question: str) -> Sequence[tuple[Any, ...]]:
    with closing(connection.cursor()) as cursor:
        cursor.execute(question)
        found: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return found


def execute(connection: Connection, statement: str) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)
