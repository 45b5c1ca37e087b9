"""Callers of the API, and an operator at the admin."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory, SuperuserFactory


@pytest.fixture
def anon() -> Api:
    return client_of()


@pytest.fixture
def account() -> User:
    return AccountFactory.create()


@pytest.fixture
def user(account: User) -> Api:
    return client_of(account)


@pytest.fixture
def staff() -> Api:
    return client_of(SuperuserFactory.create())


@pytest.fixture
def in_the_lab(settings: Any) -> None:
    settings.LAB = True
