"""The throwaway servers that this very test runs on: durable, and for tests only."""

import sys

import pytest
from django.db import connection

from scripts.tests import programs


@pytest.mark.django_db
def test_the_database_keeps_what_it_commits_and_allows_what_races_need():
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, @@skip_networking, @@max_connections >= 500")
        assert cursor.fetchone() == (1, 1, 1)


@pytest.mark.boots("pytest, a MariaDB, or children")
def test_pytest_refuses_servers_that_were_not_started_for_it():
    ran = programs.end([sys.executable, "-m", "pytest", "--collect-only", "conftest.py"], FIRSTCOME_TEST="")
    assert ran.returncode == 4
    assert "make test SERVE=1" in ran.stderr
