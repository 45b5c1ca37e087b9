"""The running shop of all tests of this folder, whose rows, Redis and books these tests use as their own.

A test leaves its rows, so it names its own accounts, products and campaigns. A test that kills a process or a
store starts it again before it ends; `running_shop` fails the test that leaves something down.
"""

import pytest

from orders.saga import run
from orders.tests import stepping
from scripts.tests.circles import boots
from scripts.tests.running_shop.stack import RunningShop, used_by_this_process
from shop.tests.browser.conftest import browser_thread, faults, open_page
from shop.tests.browser.stack import Stack

__all__ = ["browser_thread", "faults", "open_page"]


# Not for the session: its processes would go on beside the tests of other packages.
@pytest.fixture(scope="package")
@boots("the running shop", in_first_circle=True)
def booted_shop(django_db_setup, django_db_blocker, tmp_path_factory):
    shop = RunningShop(tmp_path_factory.mktemp("shop"))
    try:
        with django_db_blocker.unblock():
            shop.boot()
        yield shop
    finally:
        shop.end()


@pytest.fixture(autouse=True)
def running_shop(booted_shop, django_db_blocker, settings, monkeypatch):
    """The shop, which is up; a test that leaves a process down fails, and the next one finds it up again."""
    monkeypatch.setattr(run, "process_executor", lambda: stepping.Delegate())
    with django_db_blocker.unblock(), used_by_this_process(booted_shop, settings, monkeypatch):
        yield booted_shop
        assert booted_shop.repair() == [], "the test left processes down"


@pytest.fixture
def stack(running_shop):
    """Where the pages of browser tests are."""
    return Stack(running_shop.address, running_shop.environment)
