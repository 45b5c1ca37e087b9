"""What happens early in a real MariaDB is found, and what is kept too long."""

from datetime import timedelta

import pytest

from foundation.tests.case_tables import in_one_test
from lab.chaos.campaigns import clocks, month
from lab.stack import database
from scripts.stack import children, ports
from scripts.stack.instance import Instance

pytestmark = pytest.mark.boots("a MariaDB")

DAY = timedelta(days=1)
SAGA = (
    "failure_code VARCHAR(64) DEFAULT '', deadline_at DATETIME(6), next_attempt_at DATETIME(6), "
    "lease_token VARCHAR(32) DEFAULT '', leased_until DATETIME(6), open_call VARCHAR(40) DEFAULT ''"
)
COLUMNS = {
    "orders_order": "status VARCHAR(16), expires_at DATETIME(6)",
    "orders_saga": SAGA,
    "shop_idempotencykey": (
        "account_id BIGINT, key_hash CHAR(64), fingerprint CHAR(64), status INT, body TEXT, location TEXT, "
        "created_at DATETIME(6)"
    ),
    "shop_committedtransaction": "at DATETIME(6)",
    "accounts_revokedtoken": "expires_at DATETIME(6)",
    "django_session": "expire_date DATETIME(6)",
    "payments_reconciliation": "started_at DATETIME(6)",
    "payments_webhookevent": "received_at DATETIME(6)",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """As much of a stack as the checks need: a MariaDB with the tables' columns that they read."""
    instance = Instance(home=tmp_path_factory.mktemp("stack"), port=ports.free(4), database="mariadb")
    for folder in (instance.run, instance.logs, instance.data):
        folder.mkdir(parents=True)
    server = instance.mariadb(max_connections=20)
    server.prepare()
    with children.running(
        server.command(), name="mariadb", log=instance.logs / "mariadb.log", is_ready=server.socket
    ):
        for table, columns in COLUMNS.items():
            database.rows(instance, f"CREATE TABLE {table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, {columns})")
        clocks.watch_early(instance)
        yield instance


@pytest.fixture(autouse=True)
def emptied(stack):
    for table in (*COLUMNS, clocks.TABLE):
        database.rows(stack, f"TRUNCATE {table}")


def insert(instance, table: str, **values):
    marks = ", ".join(["%s"] * len(values))
    statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608
    database.rows(instance, statement, *values.values())


EXPIRE = "UPDATE orders_order SET status = 'expired'"
SWEEP = "DELETE FROM shop_idempotencykey"
GIVE_UP = "UPDATE orders_saga SET failure_code = 'gave_up' WHERE lease_token = 'a'"
RETRY = "UPDATE orders_saga SET lease_token = 'b' WHERE lease_token = ''"
TAKE_OVER = "UPDATE orders_saga SET lease_token = 'b' WHERE lease_token = 'a'"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (EXPIRE, "order expired"),
        (SWEEP, "shop_idempotencykey swept"),
        (GIVE_UP, "payment given up"),
        (RETRY, "saga retried"),
        (TAKE_OVER, "lease of a saga taken over"),
    ],
)
@pytest.mark.parametrize(("left", "is_early"), [(60, True), (-1, False)])
def test_what_is_done_before_its_time_is_found(stack, change, kind, left, is_early):
    due = database.rows(stack, "SELECT UTC_TIMESTAMP(6)")[0][0] + timedelta(seconds=left)
    insert(stack, "orders_order", status="awaiting_payment", expires_at=due)
    insert(stack, "shop_idempotencykey", created_at=due - DAY)
    insert(stack, "orders_saga", deadline_at=due, leased_until=due, lease_token="a")
    insert(stack, "orders_saga", next_attempt_at=due, open_call="charge")
    database.rows(stack, change)
    found = [*clocks.early(stack, [kind, "nothing like it"])]
    assert found[0] == "nothing shows whether it is early: nothing like it"
    assert [one.partition(": ")[2].partition(":")[0] for one in found[1:]] == [kind] * is_early


@in_one_test(("last", "is_found"), [(220, False), (230, True)])
def test_what_grows_from_day_10_to_day_30_is_found(last, is_found):
    usual = {"bytes": 100, "keys": 100}
    days = [usual] * 29 + [usual | {"keys": last}]
    assert bool([*month.growth(days)]) == is_found
    assert [*month.growth(days[-3:])] == []
