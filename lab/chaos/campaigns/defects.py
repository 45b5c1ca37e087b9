"""Planted defects of the database, each made anew before each fault, because a server that starts again has
its own settings. What a campaign's planted run finds by them is what its check of the same promise is worth.
"""

from lab.stack import database
from scripts.stack.instance import Instance

FORGET_KEYS = """
CREATE OR REPLACE TRIGGER planted BEFORE INSERT ON shop_idempotencykey
FOR EACH ROW SET NEW.key_hash = SHA2(UUID(), 256)
"""
RENEW_CHARGE_KEYS = """
CREATE OR REPLACE TRIGGER planted BEFORE UPDATE ON payments_payment
FOR EACH ROW SET NEW.charge_key = CONCAT('payment-', UUID())
"""
COMMIT_IN_MEMORY = "SET GLOBAL innodb_flush_log_at_timeout = 2700, GLOBAL innodb_flush_log_at_trx_commit = 0"


def forget_keys(instance: Instance) -> None:
    """One key, one effect: keys are recorded, and never found again, so a repeated call has its effect
    again."""
    database.rows(instance, FORGET_KEYS)


def renew_charge_keys(instance: Instance) -> None:
    """An order is charged once: each attempt has a key of its own, so that the card is charged again."""
    database.rows(instance, RENEW_CHARGE_KEYS)


def commit_in_memory(instance: Instance) -> None:
    """What was answered is durable: a killed server loses the commits since it last wrote its log."""
    database.rows(instance, COMMIT_IN_MEMORY)
