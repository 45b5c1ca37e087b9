"""Callers of the API, and the laws of coupons, which hold after each test."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.tests.clients import Api, client_of, new_superuser
from coupons.tests.laws import broken
from foundation.tests.factories import AccountFactory


@pytest.fixture
def unlawful():
    """For a test that leaves a law broken."""


@pytest.fixture(autouse=True)
def _laws_hold(request: pytest.FixtureRequest):
    """At the end of each test every law of coupons holds."""
    yield
    if request.node.get_closest_marker("django_db") and "unlawful" not in request.fixturenames:
        assert broken() == {}


@pytest.fixture
def anon() -> Api:
    return client_of()


@pytest.fixture
def account() -> User:
    return AccountFactory()


@pytest.fixture
def user(account: User) -> Api:
    return client_of(account)


@pytest.fixture
def staff() -> Api:
    return new_superuser()


@pytest.fixture
def in_the_lab(settings: Any):
    settings.LAB = True
