"""Places for hashing passwords: handed on in order, the better known first, and given back."""

import threading

import pytest

from shop.accounts import password_hashing
from shop.accounts.password_hashing import Standing
from shop.errors import Overloaded
from shop.tests.racing import wait_until


def test_the_better_known_go_first_and_equals_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_hashing, "AT_ONCE", 1)
    monkeypatch.setattr(password_hashing, "ROOM", {standing: 2 + standing for standing in Standing})
    went: list[str] = []

    def visit(name: str, standing: Standing) -> None:
        with password_hashing.place(name, lambda: standing):
            went.append(name)

    threads = []
    with password_hashing.place("first"):
        for name, standing in (
            ("stranger", Standing.STRANGER),
            ("known", Standing.KNOWN),
            ("operator", Standing.OPERATOR),
        ):
            before = password_hashing.inside()
            threads.append(threading.Thread(target=visit, args=(name, standing)))
            threads[-1].start()
            wait_until(lambda before=before: password_hashing.inside() == before + 1)
        with pytest.raises(Overloaded), password_hashing.place("one more", lambda: Standing.OPERATOR):
            pass
        wait_until(lambda: len(password_hashing._waiting) == 3)
    for thread in threads:
        thread.join(10)

    assert went == ["operator", "known", "stranger"]
    assert password_hashing.inside() == 0


def test_a_long_wait_and_an_error_give_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_hashing, "AT_ONCE", 1)
    monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 0.05)

    with pytest.raises(ZeroDivisionError), password_hashing.place("one"):
        with pytest.raises(Overloaded), password_hashing.place("other"):
            pytest.fail("there was no place")
        assert password_hashing.inside() == 1
        raise ZeroDivisionError

    assert password_hashing.inside() == 0
    with password_hashing.place("other"):
        assert password_hashing.inside() == 1
