"""Connections to the members of MySQL's group, and what the status shows of one."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection

from lab.cluster import credentials
from lab.cluster.layout import Cluster, numbers
from scripts.stack import ports

QUESTION_SECONDS = 2


@dataclass(frozen=True)
class Condition:
    """What a member says of itself, as the status shows it."""

    text: str
    is_online: bool = False
    is_primary: bool = False


@dataclass(frozen=True)
class Servers:
    """Connections to the members as administrator, which they accept in any state."""

    cluster: Cluster
    _kept: dict[int, Connection] = field(default_factory=dict)

    @property
    def numbers(self) -> range:
        return numbers("mysql")

    def name(self, number: int) -> str:
        """The name of its process."""
        return f"mysql-{number}"

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
            port=self.cluster.port("mysql", number),
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
