"""Slots for hashing passwords: granted in order of trust and arrival, and released."""

import threading

import pytest

from shop.accounts import password_hashing
from shop.accounts.password_hashing import TrustLevel
from shop.errors import Overloaded
from shop.tests.racing import wait_until


def test_slots_are_granted_by_trust_level_and_then_in_order_of_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(password_hashing, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(
        password_hashing, "CAPACITY_BY_TRUST_LEVEL", {level: 2 + level for level in TrustLevel}
    )
    served: list[str] = []

    def visit(name: str, trust_level: TrustLevel) -> None:
        with password_hashing.acquire_slot(name, lambda: trust_level):
            served.append(name)

    threads = []
    with password_hashing.acquire_slot("first"):
        for name, level in (
            ("stranger", TrustLevel.STRANGER),
            ("known", TrustLevel.KNOWN),
            ("operator", TrustLevel.OPERATOR),
        ):
            before = password_hashing.active_count()
            threads.append(threading.Thread(target=visit, args=(name, level)))
            threads[-1].start()
            wait_until(lambda before=before: password_hashing.active_count() == before + 1)
        with (
            pytest.raises(Overloaded),
            password_hashing.acquire_slot("one more", lambda: TrustLevel.OPERATOR),
        ):
            pass
        wait_until(lambda: len(password_hashing._waiting) == 3)
    for thread in threads:
        thread.join(10)

    assert served == ["operator", "known", "stranger"]
    assert password_hashing.active_count() == 0


def test_a_timeout_and_an_error_release_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_hashing, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 0.05)

    with pytest.raises(ZeroDivisionError), password_hashing.acquire_slot("one"):
        with pytest.raises(Overloaded), password_hashing.acquire_slot("other"):
            pytest.fail("there was no free slot")
        assert password_hashing.active_count() == 1
        raise ZeroDivisionError

    assert password_hashing.active_count() == 0
    with password_hashing.acquire_slot("other"):
        assert password_hashing.active_count() == 1
