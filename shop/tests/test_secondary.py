"""Reads by a secondary, on a real one: all that was committed before is there, or the primary answers."""

import copy
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environ
import MySQLdb
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import NotSupportedError, OperationalError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.tests.clients import client_of, new_customer, new_superuser, signed_in
from backoffice import windows
from coupons.tests.factories import CampaignFactory
from foundation.db import open_transaction, plain_reads, secondary, transactions
from foundation.models import JournalLine
from foundation.operations.doctor import checks
from foundation.tests import process_state
from foundation.tests.factories import AccountFactory, OrderFactory, SuperuserFactory, set_columns
from foundation.tests.racing import race, wait_until
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from orders.tests.buying import order_of
from scripts.stack import children, mariadb, places, ports
from scripts.stack.mariadb import Server
from scripts.tests.circles import boots
from scripts.tests.running_shop.stack import client_command
from shop import configuration

PASSWORD = "of-this-test"
OPTIONS = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    # They need not survive a crash of the machine.
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-networking=OFF",
)
REPLICATION_USER = f"""
CREATE USER IF NOT EXISTS 'replica'@'{ports.HOST}' IDENTIFIED BY '{PASSWORD}';
GRANT REPLICATION SLAVE ON *.* TO 'replica'@'{ports.HOST}';
"""


@dataclass
class OwnServer:
    """One of the two; `id` is its `server_id`."""

    folder: Path
    id: int
    options: tuple[str, ...]
    port: int = field(default_factory=ports.free)
    _child: "subprocess.Popen[bytes] | None" = None

    @property
    def server(self) -> Server:
        socket = places.socket_path(self.folder, f"server{self.id}.sock")
        return Server(
            home=self.folder / f"server{self.id}", socket=socket, password=PASSWORD, max_connections=50
        )

    def start(self):
        server, log = self.server, self.folder / f"server{self.id}.log"
        server.prepare()
        # The shop's user may grant nothing.
        with (server.home / "first.sql").open("a") as statements:
            statements.write(REPLICATION_USER)
        command = [word for word in server.command() if word not in ("--skip-networking", "--skip-log-bin")]
        command += [*OPTIONS, f"--bind-address={ports.HOST}", f"--port={self.port}", f"--server-id={self.id}"]
        self._child = children.start([*command, *self.options], log=log)
        children.wait_until(server.socket, name="mariadb", child=self._child, log=log, within_seconds=60)

    def stop(self):
        if self._child:
            children.stop(self._child)
            self._child = None

    def run(self, *statements: str) -> list[dict[str, Any]]:
        """Run the statements by a connection of their own; the rows of the last one."""
        connection = MySQLdb.connect(
            unix_socket=str(self.server.socket), user=mariadb.USER, password=PASSWORD, autocommit=True
        )
        with closing(connection), connection.cursor(MySQLdb.cursors.DictCursor) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


class Replicated:
    """The two servers; the replica has what the primary had when `wait_until_applied` returns."""

    def __init__(self, folder):
        self.primary = OwnServer(folder, 1, ("--log-bin=primary", "--binlog-format=ROW"))
        self.replica = OwnServer(folder, 2, ("--read-only=ON", "--relay-log=relay"))

    def start(self):
        self.primary.start()
        self.replica.start()
        self.replica.run(
            f"CHANGE MASTER TO MASTER_HOST='{ports.HOST}', MASTER_PORT={self.primary.port},"
            f" MASTER_USER='replica', MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=slave_pos,"
            " MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        )
        self._copy_tables()
        self.wait_until_applied()

    def stop(self):
        self.replica.stop()
        self.primary.stop()

    def _copy_tables(self):
        """Copy the test's database as it is: migrations take minutes on a busy machine."""
        tests = connections["default"].settings_dict
        dump = client_command("mariadb-dump", tests, "--single-transaction", "--skip-triggers")
        tables = subprocess.run(dump, check=True, capture_output=True).stdout
        load = client_command("mariadb", environ.Env.db_url_config(self.primary.server.url))
        subprocess.run(load, check=True, input=tables)
        assert self.primary.run(f"SHOW TABLES FROM {mariadb.DATABASE}"), "the test's database has no tables"

    def wait_until_applied(self):
        position = self.primary.run("SELECT @@gtid_binlog_pos AS position")[0]["position"]
        wait = f"SELECT MASTER_GTID_WAIT('{position}', 1) AS result"
        wait_until(lambda: self.replica.run(wait)[0]["result"] == 0, seconds=60)


@contextmanager
def as_databases(servers: Replicated):
    """Let this thread's `default` be the primary, and its `reader` the replica, until the block ends."""
    before, default = connections.settings, connections["default"]
    usual, found = before["default"], environ.Env.db_url_config(servers.primary.server.url)
    options = copy.deepcopy(dict(usual["OPTIONS"])) | found["OPTIONS"]
    primary = {**usual, **found, "ENGINE": usual["ENGINE"], "OPTIONS": options}
    os.environ["DATABASE_READ_URL"] = servers.replica.server.url
    try:
        read = configuration.read_database(
            "DATABASE_READ_URL", primary=primary, options=settings.MYSQL_OPTIONS
        )
    finally:
        del os.environ["DATABASE_READ_URL"]
    connections.settings = connections.configure_settings({"default": primary, secondary.ALIAS: read})
    for alias in connections.settings:
        connections[alias] = connections.create_connection(alias)
    try:
        process_state.renew_threads()
        yield
    finally:
        for alias in connections.settings:
            connections[alias].close()
        del connections[secondary.ALIAS]
        connections.settings = before
        connections["default"] = default
        process_state.renew_threads()


PRIMARY, REPLICA = 1, 2


@pytest.fixture(scope="module")
@boots("two database servers")
def servers(tmp_path_factory, django_db_setup):
    pair = Replicated(tmp_path_factory.mktemp("replicated"))
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def pair(servers, settings, django_db_blocker):
    settings.DATABASE_ROUTERS = ["foundation.db.secondary.Router"]
    process_state.forget_secondary()
    with django_db_blocker.unblock(), as_databases(servers):
        yield servers
    servers.replica.run("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY=0", "START SLAVE")
    servers.wait_until_applied()


def read_server() -> int:
    """The server that a read is sent to."""

    def ask(alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT @@server_id")
            return int(cursor.fetchone()[0])

    return secondary.read(ask)


def count_reads(result: str) -> float:
    return float(secondary.READS.labels(result)._value.get())


def test_without_a_secondary_all_is_read_from_the_primary_by_the_same_rules_and_not_counted(transactional_db):
    before = [count_reads(result) for result in ("secondary", "lagging", "unreachable")]
    assert secondary.read(lambda alias: alias) == "default"
    assert [count_reads(result) for result in ("secondary", "lagging", "unreachable")] == before
    assert checks.reader() == []
    assert secondary.Router().db_for_write(User) == "default"
    with transaction.atomic(), pytest.raises(TransactionManagementError):
        secondary.read(lambda alias: alias)


# The mark has pytest-django make the test's database, whose tables the two servers get.
@pytest.mark.boots("a database server")
def test_it_reads_from_the_secondary_what_was_committed_just_before(db, pair):
    for number in range(100):
        account = AccountFactory()
        servers_and_rows = secondary.read(
            lambda alias, key=account.pk: (alias, User.objects.using(alias).filter(pk=key).count())
        )
        assert servers_and_rows == ("reader", 1), number
    assert read_server() == REPLICA


def test_without_waiting_for_the_position_reads_of_the_secondary_are_stale(pair):
    """The twin of the test above: a replica shows what it has, and not what the primary has."""
    pair.replica.run("STOP SLAVE SQL_THREAD")
    account = AccountFactory()
    assert not User.objects.using("reader").filter(pk=account.pk).exists()
    assert secondary.read(lambda alias: User.objects.using(alias).filter(pk=account.pk).exists())


def test_while_the_secondary_stands_still_the_primary_answers_and_few_reads_wait(pair):
    assert read_server() == REPLICA
    pair.replica.run("STOP SLAVE SQL_THREAD")
    AccountFactory()
    began_at, before = time.monotonic(), count_reads("lagging")
    assert [read_server() for _ in range(20)] == [PRIMARY] * 20
    assert time.monotonic() - began_at < secondary.CATCH_UP_SECONDS + 1
    assert count_reads("lagging") == before + 20
    pair.replica.run("START SLAVE SQL_THREAD")
    wait_until(lambda: read_server() == REPLICA, seconds=20)


def test_a_secondary_that_is_seconds_behind_is_not_read(pair):
    pair.replica.run("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY=3", "START SLAVE")
    account = AccountFactory()
    for _ in range(5):
        process_state.forget_secondary()
        assert secondary.read(lambda alias: User.objects.using(alias).filter(pk=account.pk).exists())
    assert read_server() == PRIMARY


def test_a_secondary_that_is_down_is_tried_once_in_a_while(pair):
    pair.replica.stop()
    try:
        began_at, before = time.monotonic(), count_reads("unreachable")
        assert [read_server() for _ in range(20)] == [PRIMARY] * 20
        assert time.monotonic() - began_at < 3
        assert count_reads("unreachable") == before + 20
    finally:
        pair.replica.start()
    process_state.forget_secondary()
    wait_until(lambda: read_server() == REPLICA, seconds=30)


def test_work_whose_connection_is_lost_is_run_again_by_the_primary(pair):
    used = []

    def work(alias):
        used.append(alias)
        with connections[alias].cursor() as cursor:
            if alias == secondary.ALIAS:
                cursor.execute("SELECT CONNECTION_ID()")
                pair.replica.run(f"KILL {cursor.fetchone()[0]}")
            cursor.execute("SELECT @@server_id")
            return int(cursor.fetchone()[0])

    assert secondary.read(work) == PRIMARY
    assert used == ["reader", "default"]


def test_other_errors_are_raised_it_has_no_transactions_and_nothing_is_read_from_it_inside_one(pair):
    def work(alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT missing_function()")

    with pytest.raises(OperationalError):
        secondary.read(work)
    assert read_server() == REPLICA
    with pytest.raises(TransactionManagementError), transaction.atomic(using="reader"):
        pass
    with pytest.raises(TransactionManagementError):
        transactions.run(lambda: secondary.read(lambda alias: None), transactions.ONCE)


def test_nothing_is_decided_while_it_is_read(pair):
    account = AccountFactory()

    def begin(alias):
        transactions.run(lambda: None, transactions.REPEATABLE)

    def lock(alias):
        with transaction.atomic():
            User.objects.select_for_update().get(pk=account.pk)

    def write(alias):
        set_columns(account, first_name="Ada")

    for work, error in (
        (begin, TransactionManagementError),
        (lock, NotSupportedError),
        (write, NotSupportedError),
    ):
        with pytest.raises(error):
            secondary.read(work)
    assert not open_transaction.state.is_forbidden
    transactions.run(lambda: None, transactions.REPEATABLE)


@pytest.mark.parametrize(
    "statement",
    [
        *("UPDATE auth_user SET first_name = 'Ada'", "DELETE FROM auth_user", "BEGIN"),
        *("SELECT id FROM auth_user FOR UPDATE", "SELECT id FROM auth_user LOCK IN SHARE MODE"),
        *("SELECT id FROM auth_user FOR SHARE", "SET GLOBAL read_only = OFF"),
    ],
)
def test_statements_that_write_or_lock_never_leave_the_process(db, statement):
    with connection.execute_wrapper(plain_reads.refuse_writes), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        with pytest.raises(NotSupportedError):
            cursor.execute(statement)


def test_its_connections_are_read_only_for_the_server_too(pair):
    reader = connections["reader"]
    reader.ensure_connection()
    with pytest.raises(NotSupportedError), reader.cursor() as cursor:
        cursor.execute("UPDATE auth_user SET first_name = 'Ada'")
    reader.execute_wrappers.clear()
    try:
        with pytest.raises(OperationalError), reader.cursor() as cursor:
            cursor.execute("UPDATE auth_user SET first_name = 'Ada'")
    finally:
        connections["reader"] = connections.create_connection("reader")
        reader.close()


def statements_of(call: Callable[[], Any]) -> tuple[Any, list[str], list[str]]:
    """What the call returns, and the statements that it sent to the primary and to the secondary."""
    with (
        CaptureQueriesContext(connections["default"]) as primary,
        CaptureQueriesContext(connections["reader"]) as reader,
    ):
        answer = call()
    return answer, *([one["sql"] for one in sent.captured_queries] for sent in (primary, reader))


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/orders", "orders_order`"),
        ("/orders", "orders_orderline`"),
        ("/coupons", "coupons_coupon`"),
        ("/payments", "payments_payment`"),
        ("/products", "inventory_product`"),
        ("/campaigns", "coupons_campaign`"),
        ("/products/{product}/stock-movements", "inventory_stockmovement`"),
        ("/campaigns/{campaign}/codes", "coupons_poolcode`"),
    ],
)
def test_lists_of_staff_are_read_from_it(pair, path, table):
    client = new_superuser()
    product, campaign = ProductFactory(on_hand=5), CampaignFactory()
    buyer = client_of(buying.account(points=500))
    ordered = buyer.post("/orders", order_of(product), key="one")
    assert ordered.status_code == 201, ordered.content
    path = path.format(product=product.pk, campaign=campaign.pk)

    answer, primary, reader = statements_of(lambda: client.get(path))
    assert answer.status_code == 200
    assert any(f"FROM `{table}" in statement for statement in reader), reader
    if "{" not in path and not path.startswith(("/products/", "/campaigns/")):
        assert not any(f"FROM `{table}" in statement for statement in primary), primary


def test_an_accounts_own_lists_are_read_from_the_primary(pair):
    client = new_customer()
    for path in ("/orders", "/coupons", "/payments", "/wallet/entries", "/products", "/campaigns"):
        *_, reader = statements_of(lambda path=path: client.get(path))
        assert reader == [], path


def test_lists_of_the_admin_are_read_from_it_and_pages_of_one_row_and_rows_of_actions_are_not(pair):
    client, order = signed_in(SuperuserFactory()), OrderFactory(total_amount=5, card_amount=5)
    page, primary, reader = statements_of(lambda: client.get("/admin/orders/order/"))
    assert page.status_code == 200
    assert str(order.pk) in page.text
    assert any("FROM `orders_order`" in statement for statement in reader)
    assert not any("FROM `orders_order`" in statement for statement in primary)
    *_, reader = statements_of(lambda: client.get(f"/admin/orders/order/{order.pk}/change/"))
    assert reader == []
    chosen = {"action": "delete_selected", "_selected_action": [AccountFactory().pk]}
    *_, reader = statements_of(lambda: client.post("/admin/auth/user/", chosen))
    assert reader == []


@pytest.mark.parametrize("query", ["", "?happened=test.line", "?happened=test.", "?by=unknown", "?p=last"])
def test_every_statement_of_a_list_has_the_limit_on_either_server(pair, query):
    """The end of a searched window and the journal's names were read from the primary, without the limit."""
    client = signed_in(SuperuserFactory())
    JournalLine.objects.create(at=timezone.now(), actor="system", what="test.line")
    page, primary, reader = statements_of(lambda: client.get(f"/admin/shop/journalline/{query}"))
    assert page.status_code == 200
    limit, of_session = "SET SESSION max_statement_time", ("django_session", "auth_user", "otp_totp")
    for statements in (primary, reader):
        [begins, ends] = [at for at, text in enumerate(statements) if text.startswith(limit)]
        without = [text for text in statements[:begins] + statements[ends:] if " FROM `" in text]
        assert [text for text in without if not any(name in text for name in of_session)] == []
    assert not any("FROM `shop_journalline`" in text for text in primary), primary


def test_exports_and_reports_are_read_from_it(pair):
    client = signed_in(SuperuserFactory())
    ProductFactory(sku="TEA")
    file, primary, reader = statements_of(
        lambda: b"".join(client.get("/admin/inventory/product/export/").streaming_content)  # type: ignore[attr-defined]
    )
    assert "TEA" in file.decode()
    assert any("FROM `inventory_product`" in statement for statement in reader)
    assert not any("FROM `inventory_product`" in statement for statement in primary)
    *_, reader = statements_of(lambda: windows.fetch(Order.objects.all()))
    assert any("FROM `orders_order`" in statement for statement in reader)


def test_each_thread_waits_for_its_own_connections_server_and_the_doctor_says_whether_it_can_be_read(pair):
    assert race([read_server] * 8) == [REPLICA] * 8
    assert [finding.level for finding in checks.reader()] == ["ok"]
    pair.replica.run("STOP SLAVE SQL_THREAD")
    AccountFactory()
    assert [finding.level for finding in checks.reader()] == ["warning"]
