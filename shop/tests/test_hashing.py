"""Places for hashing passwords: handed on in order, the better known first, and given back."""

import threading

import pytest

from shop import hashing
from shop.errors import Overloaded
from shop.hashing import Standing
from shop.tests.racing import wait_until


def test_the_better_known_go_first_and_equals_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "AT_ONCE", 1)
    monkeypatch.setattr(hashing, "ROOM", {standing: 2 + standing for standing in Standing})
    went: list[str] = []

    def visit(name: str, standing: Standing) -> None:
        with hashing.place(name, lambda: standing):
            went.append(name)

    threads = []
    with hashing.place("first"):
        for name, standing in (
            ("stranger", Standing.STRANGER),
            ("known", Standing.KNOWN),
            ("operator", Standing.OPERATOR),
        ):
            before = hashing.inside()
            threads.append(threading.Thread(target=visit, args=(name, standing)))
            threads[-1].start()
            wait_until(lambda before=before: hashing.inside() == before + 1)
        with pytest.raises(Overloaded), hashing.place("one more", lambda: Standing.OPERATOR):
            pass
        wait_until(lambda: len(hashing._waiting) == 3)
    for thread in threads:
        thread.join(10)

    assert went == ["operator", "known", "stranger"]
    assert hashing.inside() == 0


def test_a_long_wait_and_an_error_give_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "AT_ONCE", 1)
    monkeypatch.setattr(hashing, "WAIT_SECONDS", 0.05)

    with pytest.raises(ZeroDivisionError), hashing.place("one"):
        with pytest.raises(Overloaded), hashing.place("other"):
            pytest.fail("there was no place")
        assert hashing.inside() == 1
        raise ZeroDivisionError

    assert hashing.inside() == 0
    with hashing.place("other"):
        assert hashing.inside() == 1
