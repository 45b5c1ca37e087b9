"""Hashing passwords: whose turn it is, what a full queue refuses, and that the same letters hash alike."""

import asyncio
import unicodedata
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.contrib.auth import hashers
from django.contrib.auth.models import User

from shop import settings as project
from shop.accounts import password_hashing
from shop.accounts.password_hashing import TrustLevel
from shop.errors import Overloaded
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory

STRANGER, KNOWN, OPERATOR = TrustLevel
HANGUL = "\uc6b0\ub9ac\uc9d1\uac15\uc544\uc9c0\ub2947\uc0b4"
IN_PARTS = unicodedata.normalize("NFD", HANGUL)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(password_hashing, "MAX_CONCURRENT", 1)
    yield
    assert (password_hashing._running, password_hashing.queued_count()) == (0, 0)


@pytest.fixture
def our_hashers(settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = project.PASSWORD_HASHERS


class Turns:
    """Requests that wait behind one that hashes until `finish`, and whose turn came in which order."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._held = asyncio.Event()

    async def begin(self) -> None:
        password_hashing._begin_turn()

    async def add(self, name: str, network: str = "n", level: TrustLevel = STRANGER) -> asyncio.Task[None]:
        async def trust_level() -> TrustLevel:
            return level

        run = password_hashing.run_in_turn(
            lambda: self.served.append(name), network=network, trust_level=trust_level
        )
        self._tasks.append(asyncio.create_task(run))
        await asyncio.sleep(0)
        return self._tasks[-1]

    async def finish(self) -> list[object]:
        password_hashing._pass_turn_on()
        return await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.usefixtures("one_at_a_time")
def test_the_best_known_go_first_and_networks_take_turns() -> None:
    async def scenario() -> list[str]:
        turns = Turns()
        await turns.begin()
        for name, network, level in (
            ("a1", "a", STRANGER),
            ("a2", "a", STRANGER),
            ("a3", "a", STRANGER),
            ("b1", "b", STRANGER),
            ("b2", "b", STRANGER),
            ("c1", "c", STRANGER),
            ("known", "a", KNOWN),
            ("operator", "a", OPERATOR),
        ):
            await turns.add(name, network, level)
        await turns.finish()
        return turns.served

    assert asyncio.run(scenario()) == ["operator", "known", "a1", "b1", "c1", "a2", "b2", "a3"]


@pytest.mark.usefixtures("one_at_a_time")
def test_a_full_queue_refuses_the_newest_of_the_network_with_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_hashing, "MAX_QUEUED", 4)

    async def scenario() -> tuple[list[str], list[object]]:
        turns = Turns()
        await turns.begin()
        for name in ("a1", "a2", "a3"):
            await turns.add(name, "a")
        await turns.add("b1", "b")
        for name, network, level in (
            ("a4", "a", STRANGER),  # its own network has most
            ("c1", "c", STRANGER),  # in the place of a3
            ("b2", "b", STRANGER),  # no network has two more than its own
            ("known", "a", KNOWN),  # in the place of a2
        ):
            await turns.add(name, network, level)
        return turns.served, await turns.finish()

    served, results = asyncio.run(scenario())

    assert served == ["known", "a1", "b1", "c1"]
    assert [isinstance(each, Overloaded) for each in results] == [
        *(False, True, True, False),
        *(True, False, True, False),
    ]


@pytest.mark.usefixtures("one_at_a_time")
def test_waits_that_end_and_functions_that_fail_pass_their_turns_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[list[str], list[object]]:
        turns = Turns()
        await turns.begin()
        monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 0.02)
        late = await turns.add("late")
        await asyncio.wait([late])
        monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 10.0)
        (await turns.add("cancelled while it waits")).cancel()
        in_turn = await turns.add("cancelled as its turn comes")
        failing = asyncio.create_task(password_hashing.run_in_turn(lambda: 1 // 0, network="m"))
        await asyncio.sleep(0)
        await turns.add("last", "o")
        password_hashing._pass_turn_on()
        in_turn.cancel()
        with pytest.raises(ZeroDivisionError):
            await failing
        return turns.served, await asyncio.gather(*turns._tasks, return_exceptions=True)

    served, results = asyncio.run(scenario())

    assert served == ["last"]
    assert [type(each).__name__ for each in results] == [
        "Overloaded",
        "CancelledError",
        "CancelledError",
        "NoneType",
    ]


@pytest.mark.usefixtures("our_hashers")
def test_passwords_are_hashed_by_argon2id_with_owasps_parameters() -> None:
    assert hashers.make_password("a password").startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.django_db
@pytest.mark.usefixtures("our_hashers")
@pytest.mark.parametrize(("given", "typed"), [(HANGUL, IN_PARTS), (IN_PARTS, HANGUL)], ids=["whole", "parts"])
def test_a_password_is_the_same_whole_or_in_parts(given: str, typed: str) -> None:
    body = {"username": "ada", "email": "ada@example.com", "password": given}
    assert client_of().post("/users", body).status_code == 201

    assert client_of().post("/auth/token", {"username": "ada", "password": typed}).status_code == 200
    operator = AccountFactory(username="olga")
    operator.set_password(given)
    operator.save()
    assert User.objects.get(username="olga").check_password(typed)


@pytest.mark.django_db
@pytest.mark.usefixtures("our_hashers")
@pytest.mark.parametrize("given", [HANGUL, IN_PARTS], ids=["whole", "parts"])
def test_a_hash_of_an_earlier_release_is_of_the_password_as_it_was_typed_and_a_sign_in_replaces_it(
    given: str,
) -> None:
    earlier = hashers.PBKDF2PasswordHasher().encode(given, "salt" * 6, iterations=1_000)
    AccountFactory(username="ada", password=earlier)

    wrong = client_of().post("/auth/token", {"username": "ada", "password": given + "!"})
    first = client_of().post("/auth/token", {"username": "ada", "password": IN_PARTS})

    assert (wrong.status_code, first.status_code) == (401, 200)
    assert User.objects.get().password.startswith("argon2$argon2id$")
    assert client_of().post("/auth/token", {"username": "ada", "password": HANGUL}).status_code == 200


def test_a_password_in_parts_is_as_short_as_it_looks() -> None:
    refused = client_of().post(
        "/users", {"username": "ada", "email": "ada@example.com", "password": IN_PARTS[:8]}
    )

    assert [error["code"] for error in refused.json()["errors"]] == ["password_too_short"]
