"""Decisions about every call that the contract leaves open (docs/api-decisions.md)."""

from typing import Any

import pytest

from shop.rates import throttling
from shop.rates.throttling import Limit
from shop.tests.clients import client_of
from shop.tests.factories import PASSWORD
from shop.tests.racing import wait_until

pytestmark = pytest.mark.django_db


def register(name: str) -> Any:
    return client_of().post("/users", {"username": name, "email": "ada@example.com", "password": PASSWORD})


def test_a_429_has_retry_after_in_seconds_and_then_the_call_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throttling, "REGISTRATIONS", Limit("registrations-of-a-test", times=1, seconds=2))
    assert register("ada").status_code == 201

    refused = register("bob")

    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert refused["Content-Type"] == "application/problem+json"
    assert refused["Retry-After"] in ("1", "2")
    # A refused call counts nothing, so repeated calls don't extend the wait.
    wait_until(lambda: register("bob").status_code == 201, seconds=int(refused["Retry-After"]) + 0.5)
