"""The doctor reports dangers with advice, on real servers if these can be put into such a state."""

import re
from collections.abc import Iterable

import pytest
from django.contrib.auth.models import User
from django.db import connection

from accounts import doctor as accounts_doctor
from events import doctor as events_doctor
from events.tests.delivering import dead
from foundation.operations.doctor import checks
from foundation.operations.doctor.findings import Finding
from foundation.redis import redis_client
from foundation.tests import servers
from foundation.tests.commands import run, run_json
from foundation.tests.instants import ago
from foundation.tests.outages import database_away
from foundation.tests.second_connection import ask
from inventory import products
from inventory.tests.factories import ProductFactory
from shop.celery import app

pytestmark = pytest.mark.django_db
SOUND = {
    "version": "10.11.6-MariaDB-0+deb12u1",
    "transaction_isolation": "READ-COMMITTED",
    "innodb_flush_log_at_trx_commit": "1",
    "log_bin": "ON",
    "sync_binlog": "1",
    "sql_mode": "STRICT_TRANS_TABLES,NO_ZERO_DATE",
    "check_constraint_checks": "ON",
    "default_storage_engine": "InnoDB",
    "max_connections": "1000",
    "max_user_connections": "0",
}


@pytest.fixture
def broker(own_redis, settings):
    known = app.conf.broker_write_url
    settings.CELERY_BROKER_URL = app.conf.broker_write_url = own_redis.url
    yield own_redis
    app.conf.broker_write_url = known


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings}


def test_a_healthy_environment_exits_with_0_and_a_danger_is_reported_with_advice_and_exit_code_1(
    transactional_db, settings
):
    settings.EVENT_SECRET = "known to the data platform"
    code, output = run_json("doctor")

    assert code == 0
    assert all(finding.keys() == {"check", "level", "found", "advice"} for finding in output["findings"])
    checks = {finding["check"] for finding in output["findings"]}
    assert checks >= {"isolation level", "innodb_flush_log_at_trx_commit", "sync_binlog", "sql_mode"}
    assert checks >= {"max_connections", "Redis eviction", "broker persistence"}
    assert checks >= {"database clock", "Redis clock", "migrations", "DEBUG", "SECRET_KEY"}

    settings.DEBUG = True
    code, output = run("doctor")

    assert code == 1
    assert "DANGER   DEBUG: on\n         Set DEBUG=0" in output
    assert "ok       isolation level: READ-COMMITTED\n" in output


@pytest.mark.parametrize(
    ("variable", "wrong", "right", "check"),
    [
        ("TRANSACTION ISOLATION LEVEL", "REPEATABLE READ", "READ COMMITTED", "isolation level"),
        ("sql_mode =", "''", "'TRADITIONAL'", "sql_mode"),
        ("check_constraint_checks =", "OFF", "ON", "constraints"),
        ("default_storage_engine =", "MyISAM", "InnoDB", "constraints"),
    ],
)
def test_wrong_session_variables_of_our_connections_are_reported(
    transactional_db, variable, wrong, right, check
):
    if "check_constraint_checks" in variable and not servers.is_mariadb():
        pytest.skip("MySQL has no variable that turns all checks off.")
    assert levels(checks.database())[check] == "ok"
    ask(connection, f"SET SESSION {variable} {wrong}")
    try:
        assert levels(checks.database())[check] == "danger"
    finally:
        ask(connection, f"SET SESSION {variable} {right}")


STRONG = ("2026-11", "0123456789abcdef" * 4)


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({}, "isolation level", "ok"),
        ({"transaction_isolation": "REPEATABLE-READ"}, "isolation level", "danger"),
        ({"innodb_flush_log_at_trx_commit": "2"}, "innodb_flush_log_at_trx_commit", "danger"),
        ({"innodb_flush_log_at_trx_commit": "0"}, "innodb_flush_log_at_trx_commit", "danger"),
        ({"sync_binlog": "0"}, "sync_binlog", "danger"),
        ({"sync_binlog": "0", "log_bin": "OFF"}, "sync_binlog", "ok"),
        ({"sql_mode": "NO_ZERO_DATE"}, "sql_mode", "danger"),
        ({"sql_mode": ""}, "sql_mode", "danger"),
        ({"max_connections": "151"}, "max_connections", "danger"),
        ({"max_user_connections": "100"}, "max_connections", "danger"),
        ({"max_user_connections": "900"}, "max_connections", "ok"),
        ({"version": "10.6.12-MariaDB"}, "database version", "warning"),
        ({"version": "11.8.2-MariaDB-log"}, "database version", "ok"),
        ({"version": "8.4.3"}, "database version", "ok"),
        ({"version": "8.0.34"}, "database version", "warning"),
    ],
)
def test_server_settings_get_their_levels(changed, check, level):
    assert levels(checks.of_server(SOUND | changed))[check] == level


@pytest.mark.parametrize(("pool", "level"), [(2**30, "ok"), (600 * 2**20, "ok"), (2**27, "warning")])
def test_a_buffer_pool_smaller_than_the_indexes_is_reported(pool, level):
    finding = checks.buffer_pool({"innodb_buffer_pool_size": str(pool)}, 600 * 2**20)
    assert (finding.level, bool(finding.advice)) == (level, level != "ok")


def test_more_web_threads_than_connections_are_a_danger(settings):
    settings.WEB_WORKERS, settings.WEB_THREADS = 8, 128

    *_, found = checks.of_server(SOUND)

    assert found.level == "danger"
    assert "max_connections=1104" in found.advice


def test_a_redis_without_fixes_is_reported_but_in_development(broker, settings, monkeypatch):
    said = {"redis_version": "7.0.15"}
    monkeypatch.setattr("redis.Redis.info", lambda self, section: said)
    assert next(checks.redis()).level == "warning"
    said["valkey_version"] = "8.1.4"
    assert next(checks.redis()) == Finding("Redis version", "ok", "8.1.4")
    del said["valkey_version"]
    settings.DEBUG = True
    assert next(checks.redis()).level == "ok"


def test_a_redis_that_evicts_keys_is_reported(broker):
    for policy, of_cache, of_broker in (
        ("noeviction", "ok", "ok"),
        ("allkeys-lru", "warning", "danger"),
        ("volatile-ttl", "warning", "danger"),
    ):
        redis_client.client().config_set("maxmemory-policy", policy)
        assert levels(checks.redis())["Redis eviction"] == of_cache
        assert levels(checks.broker())["broker eviction"] == of_broker


def test_a_broker_without_persistence_or_that_refuses_to_show_its_settings_is_reported(broker):
    client = redis_client.client()
    for appended, saved, level in (("no", "", "warning"), ("yes", "", "ok"), ("no", "3600 1", "ok")):
        client.config_set("appendonly", appended)
        client.config_set("save", saved)
        assert levels(checks.broker())["broker persistence"] == level
    client.execute_command("ACL", "SETUSER", "default", "-config")
    assert levels(checks.redis())["Redis eviction"] == "warning"
    assert levels(checks.broker())["broker persistence"] == "warning"


@pytest.mark.parametrize(("strategy", "level"), [("redis_gate", "danger"), ("group_commit", "warning")])
def test_an_unavailable_redis_is_a_danger_if_orders_depend_on_it(broker, settings, strategy, level):
    settings.INVENTORY_STRATEGY = strategy
    broker.stop()

    assert levels(checks.redis()) == {"Redis": level}
    assert levels(checks.broker()) == {"broker": "warning"}
    assert levels(checks.clocks()) == {"database clock": "ok"}


def test_an_unavailable_database_is_a_danger(transactional_db):
    with database_away():
        assert levels(checks.database()) == {"database": "danger"}
        assert checks.migrations().level == "danger"
        assert run("doctor")[0] == 1


def test_missing_migrations_are_reported():
    assert checks.migrations().level == "ok"
    ask(connection, "DELETE FROM django_migrations WHERE app = 'shop'")
    found = checks.migrations()
    assert (found.level, "shop.0001_initial" in found.found) == ("danger", True)


@pytest.mark.parametrize(
    ("skew", "level"),
    [(0.0, "ok"), (0.9, "ok"), (-1.1, "warning"), (1.9, "warning"), (2.1, "danger"), (-3600.0, "danger")],
)
def test_a_clock_skew_is_reported(skew, level):
    assert checks.clock_finding("database clock", skew).level == level


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({"SECRET_KEY": "k" * 100}, "SECRET_KEY", "danger"),
        ({"SECRET_KEY": "aB3$x" * 5}, "SECRET_KEY", "danger"),
        ({"SECRET_KEY": "only-for-debug-" * 4}, "SECRET_KEY", "danger"),
        ({"SECRET_KEY": "0123456789abcdef" * 4}, "SECRET_KEY", "ok"),
        ({"TOKEN_SIGNING_KEYS": (("", "s" * 50),)}, "TOKEN_SIGNING_KEYS", "warning"),
        ({"TOKEN_SIGNING_KEYS": (("", "s" * 50), STRONG)}, "TOKEN_SIGNING_KEYS", "warning"),
        ({"TOKEN_SIGNING_KEYS": (STRONG, ("", "s" * 50))}, "TOKEN_SIGNING_KEYS", "ok"),
        ({"TOKEN_SIGNING_KEYS": (STRONG, ("old", "o" * 50))}, "TOKEN_SIGNING_KEYS", "danger"),
        ({"ALLOWED_HOSTS": ["shop.example", "*"]}, "ALLOWED_HOSTS", "warning"),
        ({"HTTPS": True}, "TRUSTED_PROXIES", "warning"),
        ({"HTTPS": True, "TRUSTED_PROXIES": 1}, "TRUSTED_PROXIES", "ok"),
        ({}, "TRUSTED_PROXIES", "ok"),
        ({"STAFF_OTP_REQUIRED": True}, "STAFF_OTP_REQUIRED", "ok"),
        ({"STAFF_OTP_REQUIRED": False}, "STAFF_OTP_REQUIRED", "warning"),
        ({"STAFF_OTP_REQUIRED": False, "DEBUG": True}, "STAFF_OTP_REQUIRED", "ok"),
        ({"LAB": True}, "LAB", "warning"),
        ({"WEBHOOK_PRIVATE_ADDRESSES": True}, "WEBHOOK_PRIVATE_ADDRESSES", "warning"),
        ({"WEBHOOK_PRIVATE_ADDRESSES": True, "IS_MAKE_RUN": True}, "WEBHOOK_PRIVATE_ADDRESSES", "ok"),
        ({"DEMO": True}, "DEMO", "warning"),
        ({"DEMO": True, "IS_MAKE_RUN": True}, "DEMO", "ok"),
        ({"DEMO": False}, "DEMO", "ok"),
        ({"DEBUG": True}, "DEBUG", "danger"),
        ({"EVENT_SECRET": ""}, "EVENT_SECRET", "danger"),
        ({"EVENT_SECRET": "", "DEBUG": True}, "EVENT_SECRET", "ok"),
        ({"EVENT_SECRET": "", "DATA_PLATFORM_URL": ""}, "EVENT_SECRET", "ok"),
        ({"EVENT_SECRET": "known to the data platform"}, "EVENT_SECRET", "ok"),
        ({"WEBHOOK_SECRET_SIMULATOR": ""}, "WEBHOOK_SECRET_SIMULATOR", "warning"),
        ({"WEBHOOK_SECRET_SIMULATOR": "known"}, "WEBHOOK_SECRET_SIMULATOR", "ok"),
        ({"PAYMENT_GATEWAY": "stripe"}, "WEBHOOK_SECRET_STRIPE", "warning"),
    ],
)
def test_insecure_settings_are_reported(settings, changed, check, level):
    for name, value in changed.items():
        setattr(settings, name, value)

    assert levels([*checks.start(), *accounts_doctor.examine()])[check] == level


def test_undelivered_events_are_reported():
    names = ("dead events", "refused events", "queued events", "event feed", "positions of events")
    assert levels(events_doctor.examine()) == dict.fromkeys(names, "ok")
    long_ago = ago(hours=1)
    dead()
    dead(status="pending", next_attempt_at=long_ago, refused_at=long_ago, created_at=long_ago)

    lost, refused, queued, *_ = events_doctor.examine()

    assert {lost.level, refused.level, queued.level} == {"warning"}
    assert lost.found.startswith("1 ") and "replay_events" in lost.advice
    assert refused.found.startswith("1 ") and "DATA_PLATFORM_URL" in refused.advice
    assert queued.found.startswith("1, the oldest for 3,6")


def test_accounts_with_published_passwords_are_reported():
    assert levels(accounts_doctor.demo()) == {"demo accounts": "ok"}
    for name, password in (("demo", "demo-pass-2026"), ("staff", "staff-pass-2026")):
        User.objects.create_user(name, password=password)

    assert accounts_doctor.demo()[0].found == "demo, staff"
    User.objects.filter(username="demo").update(is_active=False)
    staff = User.objects.get(username="staff")
    staff.set_password("a secret of ours")
    staff.save()
    assert levels(accounts_doctor.demo()) == {"demo accounts": "ok"}


@pytest.mark.parametrize(("is_make_run", "level"), [(False, "danger"), (True, "warning")])
def test_a_demo_superuser_is_a_danger_except_under_make_run(settings, is_make_run, level):
    settings.IS_MAKE_RUN = is_make_run
    User.objects.create_superuser("staff", password="staff-pass-2026")
    assert levels(accounts_doctor.demo()) == {"demo accounts": level}
    assert "staff" in accounts_doctor.demo()[0].found

    User.objects.update(is_active=False)
    assert levels(accounts_doctor.demo()) == {"demo accounts": "ok"}


def _columns_of_products():
    return ask(
        connection,
        "SELECT column_name, column_type, is_nullable, column_default, collation_name"
        " FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name = 'inventory_product' ORDER BY 1",
    )


def test_a_collation_that_takes_emoji_for_one_is_reported_with_statements_that_mend_it(transactional_db):
    variables, before = {"version": ask(connection, "SELECT VERSION()")[0][0]}, _columns_of_products()
    assert checks.collation(variables).level == "ok"
    alter = "ALTER TABLE inventory_product MODIFY name varchar(255) COLLATE %s NOT NULL"
    # What MariaDB 10.11 gives to a new database.
    ask(connection, alter % "utf8mb4_general_ci")
    try:
        whale = ProductFactory(name="다른 🐳 컵")
        assert list(products.find(search="🎁", include_inactive=True)) == [whale]

        finding = checks.collation(variables)
        assert (finding.level, "inventory_product" in finding.found) == ("warning", True)
        of_database, of_table = re.findall(r"ALTER [^;]*[^;.]", finding.advice)
        name, collation = connection.settings_dict["NAME"], of_table.split()[-3]
        assert of_database == f"ALTER DATABASE {name} COLLATE {collation}"
        ask(connection, of_table)
        assert list(products.find(search="🐳", include_inactive=True)) == [whale]
        assert not products.find(search="🎁", include_inactive=True).exists()
        assert checks.collation(variables).level == "ok"
        assert _columns_of_products() == before
    finally:
        ask(connection, alter % checks.COLLATIONS[servers.is_mariadb()])


@pytest.mark.parametrize(
    ("kind", "nodes", "refused", "are_confirmed", "expected"),
    [
        ("classic", 1, [], False, {}),
        ("classic", 3, [], False, {"broker queues": "warning"}),
        ("quorum", 3, [], True, {"broker queues": "ok", "broker confirmations": "ok"}),
        ("quorum", 3, [], False, {"broker queues": "ok", "broker confirmations": "warning"}),
        ("quorum", 1, [], True, {"broker queues": "warning", "broker confirmations": "ok"}),
        ("quorum", 3, ["celery"], True, {"broker queues": "danger", "broker confirmations": "ok"}),
    ],
)
def test_queues_of_a_broker_get_their_level(kind, nodes, refused, are_confirmed, expected):
    findings = checks.queues(kind, nodes=nodes, refused=refused, are_confirmed=are_confirmed)
    assert levels(findings) == expected
