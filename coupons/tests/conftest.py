"""Callers of the API, and the laws of coupons, which hold after each test."""

import pytest

from accounts.tests.clients import client_of, new_superuser
from coupons.tests.laws import broken
from foundation.tests.factories import AccountFactory


@pytest.fixture
def unlawful():
    """For a test that leaves a law broken."""


@pytest.fixture(autouse=True)
def _laws_hold(request):
    """At the end of each test every law of coupons holds."""
    yield
    if request.node.get_closest_marker("django_db") and "unlawful" not in request.fixturenames:
        assert broken() == {}


@pytest.fixture
def anon():
    return client_of()


@pytest.fixture
def account():
    return AccountFactory()


@pytest.fixture
def user(account):
    return client_of(account)


@pytest.fixture
def staff():
    return new_superuser()


@pytest.fixture
def in_the_lab(settings):
    settings.LAB = True
