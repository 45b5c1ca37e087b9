"""Secrets are changed without an interruption: docs/howto/rotate-secrets.md, step by step."""

import hashlib
import hmac
import os

import MySQLdb
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from accounts.tests.clients import signed_in
from events.webhooks import data_platform
from foundation.tests.factories import SuperuserFactory
from scripts.simulators import webhooks
from scripts.tests import documented
from shop import configuration

OLD, NEW = (("0123456789" + name) * 5 for name in ("abcdef", "uvwxyz"))
PAGE = "/admin/orders/order/"
ACCOUNT = f"rotated{os.getpid()}"
pytestmark = pytest.mark.django_db


def test_a_session_that_is_used_while_the_key_is_changed_goes_on_and_another_ends(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    used, unused = (signed_in(SuperuserFactory()) for _ in "12")

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    assert used.get(PAGE).status_code == 200

    settings.SECRET_KEY_FALLBACKS = []
    assert [client.get(PAGE).status_code for client in (used, unused)] == [200, 302]


def test_a_former_key_may_not_be_guessable(monkeypatch):
    monkeypatch.setenv("SECRET_KEY_FALLBACKS", f"{OLD},changeme")
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY_FALLBACKS has a key that is a known default"):
        configuration.secret_key_fallbacks(is_debug=False)
    monkeypatch.setenv("SECRET_KEY_FALLBACKS", f"{OLD},{NEW}")
    assert configuration.secret_key_fallbacks(is_debug=False) == [OLD, NEW]


def test_a_receiver_may_change_to_the_new_secret_of_events_when_it_likes(settings):
    settings.EVENT_SECRET, settings.EVENT_SECRET_FALLBACKS = "new", ["old", ""]
    [header] = data_platform._signature(b"events").values()
    valid = {one: webhooks.is_valid(one, b"events", header) for one in ("old", "new", "other", "")}
    assert valid == {"old": True, "new": True, "other": False, "": False}

    settings.EVENT_SECRET_FALLBACKS = []
    [header] = data_platform._signature(b"events").values()
    assert [webhooks.is_valid(secret, b"events", header) for secret in ("old", "new")] == [False, True]
    seconds, _, signature = header.removeprefix("t=").partition(",v1=")
    assert signature == hmac.new(b"new", f"{seconds}.events".encode(), hashlib.sha256).hexdigest()


def as_account(name: str, password: str):
    known = connection.get_connection_params()
    chosen = {key: known[key] for key in ("host", "port", "unix_socket", "database") if key in known}
    return MySQLdb.connect(**chosen, user=name, password=password)


def count_orders(account) -> int:
    with account.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM orders_order")
        return int(cursor.fetchone()[0])


def statements(heading: str) -> list[str]:
    [_, text] = documented.page("howto/rotate-secrets.md").split(f"\n### {heading}\n")
    [block] = [one for one in documented.blocks(text.split("\n#")[0]) if one.language == "sql"]
    here = block.text.replace("firstcome.*", f"`{connection.settings_dict['NAME']}`.*")
    lines = here.replace("'firstcome", f"'{ACCOUNT}").splitlines()
    return [line for line in lines if line and not line.startswith("--")]


def test_the_password_of_the_database_is_changed_while_processes_use_it():
    is_mariadb = connection.mysql_is_mariadb
    *adding, ending = statements("MariaDB" if is_mariadb else "MySQL")
    new_name = f"{ACCOUNT}_2" if is_mariadb else ACCOUNT
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE USER '{ACCOUNT}'@'%' IDENTIFIED BY 'OLD'")
        cursor.execute(f"GRANT ALL ON `{connection.settings_dict['NAME']}`.* TO '{ACCOUNT}'@'%'")
        try:
            running = as_account(ACCOUNT, "OLD")
            for statement in adding:
                cursor.execute(statement)
            # Between the two: an open connection, and new ones of processes with old and with new settings.
            known = [running, as_account(ACCOUNT, "OLD"), as_account(new_name, "NEW")]
            assert [count_orders(account) for account in known] == [0, 0, 0]
            cursor.execute(ending)
            assert count_orders(as_account(new_name, "NEW")) == 0
            with pytest.raises(MySQLdb.OperationalError):
                as_account(ACCOUNT, "OLD")
        finally:
            for name in (ACCOUNT, f"{ACCOUNT}_2"):
                cursor.execute(f"DROP USER IF EXISTS '{name}'@'%'")
