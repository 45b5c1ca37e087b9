"""What Vitess and TiDB do with the shop's statements: the rules, and what docs/scale.md says of them."""

import os

import pytest
from django.db import connection

from scripts.bench.report import documents
from scripts.scale.statements import __main__ as command
from scripts.scale.statements import fingerprints, lint, rules
from scripts.scale.statements.lint import Recorded

BROKEN = {
    "`FOR UPDATE SKIP LOCKED`": "SELECT id FROM orders_saga WHERE id IN (?) FOR UPDATE SKIP LOCKED",
    "`FOR UPDATE` inside a derived table": (
        "SELECT c.id FROM (SELECT * FROM coupons_campaign WHERE id = ? FOR UPDATE) c "
        "LEFT JOIN coupons_coupon o ON o.campaign_id = c.id"
    ),
    "`FOR SHARE`, `LOCK IN SHARE MODE`": "SELECT id FROM auth_user WHERE id IN (?) LOCK IN SHARE MODE",
    "`FOR UPDATE` of a range": "SELECT id FROM orders_order WHERE expires_at <= ? FOR UPDATE",
    "state of the server": "SELECT trx_id FROM information_schema.INNODB_TRX",
    "INSERT without a sharding key": "INSERT INTO orders_order (`status`) VALUES (?)",
    "UPDATE or DELETE on all shards": "UPDATE `coupons_coupon` SET `status` = ? WHERE `code` = ?",
    "UPDATE or DELETE with LIMIT on all shards": "DELETE FROM coupons_coupon WHERE status = ? LIMIT ?",
    "`FOR UPDATE` on all shards": "SELECT id FROM coupons_coupon WHERE code = ? FOR UPDATE",
    "write over several families": (
        "UPDATE coupons_coupon SET status = ? WHERE campaign_id = ? AND order_id IN "
        "(SELECT id FROM orders_order WHERE status = ?)"
    ),
    "join or subquery over several families": (
        "SELECT o.id FROM orders_order o JOIN coupons_coupon c ON c.order_id = o.id WHERE o.account_id = ?"
    ),
    "read on all shards": "SELECT COUNT(*) FROM orders_order WHERE status = ?",
    "window function": "SELECT ROW_NUMBER() OVER (ORDER BY id) FROM orders_order WHERE account_id = ?",
    "recursive common table expression": (
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n "
        "JOIN coupons_campaign c ON c.id = n.i"
    ),
}
KEPT = (
    "SELECT id FROM coupons_campaign WHERE id = ? FOR UPDATE",
    "UPDATE `coupons_campaign` SET issued = ? WHERE id = ?",
    "INSERT INTO coupons_coupon (`campaign_id`, `code`) VALUES (?)",
    "SELECT COUNT(*) FROM orders_order WHERE account_id = ? AND status = ?",
    "SELECT id FROM django_content_type",
    "SAVEPOINT ?",
)


@pytest.mark.parametrize("name", rules.RULES)
def test_each_rule_finds_a_statement_that_breaks_it(name: str) -> None:
    assert name in lint.findings([BROKEN[name]])


@pytest.mark.parametrize("statement", KEPT)
def test_a_statement_that_names_its_shard_breaks_no_rule(statement: str) -> None:
    assert lint.findings([statement]) == {}


def test_a_fingerprint_has_no_values_whatever_their_number() -> None:
    long = fingerprints.of("INSERT INTO t2 (`a1`, b) VALUES (1, 'x''y'), (-2.5, NULL),\n (%s, %(v0)s)")
    assert long == fingerprints.of("INSERT INTO t2 (`a1`, b) VALUES (7, %s);")
    assert long == "INSERT INTO t2 (`a1`, b) VALUES (?)"
    assert fingerprints.of("SAVEPOINT `s139_x1`") == "SAVEPOINT ?"
    assert fingerprints.of("SELECT T3.x FROM t T3 WHERE id IN (1, 2) LIMIT 21") == (
        "SELECT T3.x FROM t T3 WHERE id IN (?) LIMIT ?"
    )


def test_a_transaction_that_writes_two_families_is_found_with_its_tables() -> None:
    issue = ["SELECT id FROM coupons_campaign WHERE id = ? FOR UPDATE", KEPT[2]]
    place = [
        "SELECT id FROM inventory_product WHERE id IN (?) FOR UPDATE",
        "INSERT INTO orders_order (`id`, `account_id`) VALUES (?)",
        "INSERT INTO shop_journalline (`at`) VALUES (?)",
    ]
    recorded = Recorded([*issue, *place], [issue, place])
    assert lint.transactions(recorded) == [("account and product", ["inventory_product", "orders_order"])]


@pytest.mark.usefixtures("django_db_setup")
def test_the_page_lists_what_the_rules_find_in_statements_recorded_now() -> None:
    # The other run uses the database of this one, and leaves it; it is no worker of this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment["TEST_DATABASE_NAME"] = str(connection.settings_dict["NAME"])
    recorded = command.record(command.MODULES, environment)
    for marks, text in command.pages(recorded).items():
        assert documents.inside(command.PAGE, marks) == text, "`make scale-lint` writes it anew"
