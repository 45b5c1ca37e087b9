"""Hashing passwords: whose turn it is, what a full queue refuses, and that the same letters hash alike."""

import asyncio
import unicodedata
from importlib import import_module
from itertools import compress, cycle

import pytest
from django.contrib.auth.models import User

from accounts.signing_in import password_hashing
from accounts.signing_in.password_hashing import TrustLevel
from accounts.tests.clients import client_of, faults
from foundation.errors import Overloaded
from foundation.tests.factories import AccountFactory, hashed_password

STRANGER, KNOWN, OPERATOR = TrustLevel
HANGUL = "\uc6b0\ub9ac\uc9d1\uac15\uc544\uc9c0\ub2947\uc0b4"
IN_PARTS = unicodedata.normalize("NFD", HANGUL)


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(password_hashing, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(password_hashing, "_levels_in_turn", cycle(password_hashing._waiting))
    yield
    assert (password_hashing._running, password_hashing.queued_count()) == (0, 0)


@pytest.fixture
def our_hashers(settings):
    hashed_password()
    settings.PASSWORD_HASHERS = import_module("shop.settings").PASSWORD_HASHERS


class Turns:
    """Requests that wait behind one that hashes until `finish`, and whose turn came in which order."""

    def __init__(self):
        self.served: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._held = asyncio.Event()

    async def begin(self):
        await password_hashing._wait_for_turn("held", STRANGER)

    async def add(self, name: str, address="n", level: TrustLevel = STRANGER) -> asyncio.Task[None]:
        async def trust_level():
            return level

        run = password_hashing.run_in_turn(
            lambda: self.served.append(name), address=address, trust_level=trust_level
        )
        self._tasks.append(asyncio.create_task(run))
        await asyncio.sleep(0)
        return self._tasks[-1]

    async def finish(self) -> list[object]:
        password_hashing._pass_turn_on()
        return await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.usefixtures("one_at_a_time")
def test_the_levels_of_trust_take_turns_and_within_each_the_networks_do():
    async def scenario():
        turns = Turns()
        await turns.begin()
        for name, address, level in (
            ("a1", "2001:db8:a:1::1", STRANGER),
            ("a2", "2001:db8:a:2::1", STRANGER),
            ("a3", "2001:db8:a:3::1", STRANGER),
            ("b1", "192.0.2.1", STRANGER),
            ("b2", "192.0.2.2", STRANGER),
            ("c1", "c", STRANGER),
            *((f"known{n}", f"k{n}", KNOWN) for n in range(1, 5)),
            ("operator", "a", OPERATOR),
        ):
            await turns.add(name, address, level)
        await turns.finish()
        return turns.served

    order = "operator known1 a1 known2 known3 b1 known4 c1 a2 b2 a3"
    assert asyncio.run(scenario()) == order.split()


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize(
    ("arrivals", "refused", "served"),
    [
        # a4's own network has most, c1 is in the place of a3, no network has two more than b2's, and A5,
        # which is known, is in the place of a2.
        ("a1 a2 a3 b1 a4 c1 b2 A5", "a2 a3 a4 b2", "A5 a1 b1 c1"),
        # Where most are known, strangers are in the places of A2 and B2, up to half; B3 is in that of c1.
        ("A1 A2 B1 B2 c1 d1 e1 B3", "A2 B2 c1 e1", "A1 B1 d1 B3"),
    ],
)
def test_a_full_queue_refuses_the_newest_of_the_network_with_most(arrivals, refused, served, monkeypatch):
    monkeypatch.setattr(password_hashing, "MAX_QUEUED", 4)

    async def scenario():
        turns = Turns()
        await turns.begin()
        for name in arrivals.split():
            await turns.add(name, name[0], KNOWN if name[0].isupper() else STRANGER)
        return turns.served, await turns.finish()

    in_turn, results = asyncio.run(scenario())

    assert in_turn == served.split()
    overloaded = [isinstance(each, Overloaded) for each in results]
    assert sorted(compress(arrivals.split(), overloaded)) == sorted(refused.split())


@pytest.mark.usefixtures("one_at_a_time")
def test_waits_that_end_and_functions_that_fail_pass_their_turns_on(monkeypatch):
    async def scenario():
        turns = Turns()
        await turns.begin()
        monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 0.02)
        late = await turns.add("late")
        await asyncio.wait([late])
        monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 10.0)
        (await turns.add("cancelled while it waits")).cancel()
        in_turn = await turns.add("cancelled as its turn comes")
        failing = asyncio.create_task(password_hashing.run_in_turn(lambda: 1 // 0, address="m"))
        await asyncio.sleep(0)
        await turns.add("last", "o")
        password_hashing._pass_turn_on()
        in_turn.cancel()
        with pytest.raises(ZeroDivisionError):
            await failing
        return turns.served, await asyncio.gather(*turns._tasks, return_exceptions=True)

    served, results = asyncio.run(scenario())

    assert served == ["last"]
    kinds = [type(each).__name__ for each in results]
    assert kinds == ["Overloaded", "CancelledError", "CancelledError", "NoneType"]


@pytest.mark.usefixtures("our_hashers")
@pytest.mark.parametrize(("given", "typed"), [(HANGUL, IN_PARTS), (IN_PARTS, HANGUL)], ids=["whole", "parts"])
def test_a_password_is_the_same_whole_or_in_parts(db, given, typed):
    body = {"username": "ada", "email": "ada@example.com", "password": given}
    assert client_of().post("/users", body).status_code == 201

    assert client_of().post("/auth/token", {"username": "ada", "password": typed}).status_code == 200
    operator = AccountFactory(username="olga")
    operator.set_password(given)
    operator.save()
    assert User.objects.get(username="olga").check_password(typed)
    # By argon2id with OWASP's parameters.
    assert operator.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    # In parts it is as short as it looks.
    refused = client_of().post("/users", body | {"username": "bob", "password": IN_PARTS[:8]})
    assert faults(refused) == [("password", "password_too_short")]
