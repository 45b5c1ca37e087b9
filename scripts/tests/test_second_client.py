"""Faults that a second client makes to a real MariaDB, and what is left of them afterwards: nothing."""

import os
import time
from collections.abc import Iterator

import pytest
from MySQLdb import OperationalError

from scripts.chaos import faults
from scripts.chaos.faults import Fault
from scripts.stack import children, database, ports
from scripts.stack.instance import Instance

pytestmark = pytest.mark.boots("a MariaDB")

NO_WAIT = "SELECT id FROM inventory_product WHERE id = 1 FOR UPDATE NOWAIT"
WRITE = "UPDATE inventory_product SET on_hand = on_hand + 1"
CONNECTIONS = 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """As much of a stack as the faults need: a MariaDB with two small tables."""
    instance = Instance(home=tmp_path_factory.mktemp("stack"), port=ports.free(4), database="mariadb")
    for folder in (instance.run, instance.logs, instance.data):
        folder.mkdir(parents=True)
    server = instance.mariadb(max_connections=CONNECTIONS)
    server.prepare()
    log = instance.logs / "mariadb.log"
    child = children.start(server.command(), log=log, environment=os.environ)
    try:
        children.wait_until(
            lambda: ports.answers(str(server.socket)), name="mariadb", child=child, log=log, within_seconds=60
        )
        for statement in (
            "CREATE TABLE inventory_product (id BIGINT PRIMARY KEY, on_hand BIGINT) ENGINE=InnoDB",
            "CREATE TABLE coupons_campaign (id BIGINT PRIMARY KEY) ENGINE=InnoDB",
            "INSERT INTO inventory_product VALUES (1, 5), (2, 5), (3, 5)",
            "INSERT INTO coupons_campaign VALUES (1)",
        ):
            database.rows(instance, statement)
        yield instance
    finally:
        children.stop(child)


def refused(instance: Instance, statement: str) -> int:
    """The number of the error that a new connection meets; 0 for none."""
    try:
        database.rows(instance, statement)
    except OperationalError as error:
        return int(error.args[0])
    return 0


def test_rows_are_held_from_all_others_and_given_back(stack: Instance) -> None:
    with faults.lasting(Fault("hold all rows of", "mariadb", 1), stack):
        assert refused(stack, NO_WAIT) == 1205
        assert refused(stack, "SELECT id FROM coupons_campaign WHERE id = 1 FOR UPDATE NOWAIT") == 1205
    assert refused(stack, NO_WAIT) == 0


def test_a_storm_makes_deadlocks_and_ends(stack: Instance) -> None:
    before = database.counters(stack)["deadlocks"]
    with faults.lasting(Fault("deadlocks in", "mariadb", 1), stack):
        deadline = time.monotonic() + 30
        while database.counters(stack)["deadlocks"] == before and time.monotonic() < deadline:
            time.sleep(0.1)
    assert database.counters(stack)["deadlocks"] > before
    assert refused(stack, NO_WAIT) == 0


def test_a_read_only_server_answers_reads_and_refuses_writes(stack: Instance) -> None:
    with (
        database.connected(stack) as earlier,
        earlier.cursor() as cursor,
        faults.lasting(Fault("read only", "mariadb", 1), stack),
    ):
        assert refused(stack, WRITE) == 1290
        assert database.rows(stack, "SELECT on_hand FROM inventory_product WHERE id = 1") == [(5,)]
        with pytest.raises(OperationalError):
            cursor.execute(WRITE)
    assert refused(stack, WRITE) == 0
    assert refused(stack, "SET GLOBAL read_only = 0") == 0


def test_a_server_without_a_free_connection_refuses_the_next_one(stack: Instance) -> None:
    with faults.lasting(Fault("take all connections of", "mariadb", 1), stack):
        assert refused(stack, "SELECT 1") == 1040
    assert refused(stack, "SELECT 1") == 0
    assert database.rows(stack, "SELECT @@GLOBAL.max_connections") == [(CONNECTIONS,)]
