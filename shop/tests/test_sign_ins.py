"""Signing in: guesses are throttled without locking owners out, hashing is bounded, the journal has it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client
from django.urls import reverse

from shop.accounts import password_hashing, sign_ins
from shop.accounts.password_hashing import TrustLevel
from shop.models import JournalLine
from shop.tests.factories import PASSWORD, AccountFactory, SuperuserFactory, hashed_password
from shop.tests.outages import OwnRedis
from shop.tests.racing import race, wait_until

HERE = "192.0.2.1"


def sign_in(name: str, address: str = HERE, password: str = "wrong") -> Any:
    return Client(REMOTE_ADDR=address).post(
        "/api/v1/auth/token", {"username": name, "password": password}, content_type="application/json"
    )


def register(name: str, address: str = HERE) -> Any:
    body = {"username": name, "email": "ada@example.com", "password": PASSWORD}
    return Client(REMOTE_ADDR=address).post("/api/v1/users", body, content_type="application/json")


def guess(name: str, *, times: int, addresses: int) -> list[int]:
    """Send wrong passwords, spread evenly over the addresses."""
    return [sign_in(name, address=f"198.51.100.{number % addresses}").status_code for number in range(times)]


@pytest.mark.django_db
def test_the_eleventh_sign_in_of_a_name_from_an_address_is_refused_whatever_the_password() -> None:
    AccountFactory(username="ada")
    statuses = [sign_in("ada").status_code for _ in range(10)]
    refused = sign_in("ada", password=PASSWORD)

    assert statuses == [401] * 10
    assert refused.status_code == 429
    assert refused.json()["code"] == "throttled"
    assert int(refused.headers["Retry-After"]) in range(1, 61)
    assert sign_in("bob").status_code == 401


@pytest.mark.django_db
def test_ten_wrong_passwords_a_minute_from_elsewhere_do_not_lock_the_owner_out() -> None:
    AccountFactory(username="ada")

    assert guess("ada", times=20, addresses=1) == [401] * 10 + [429] * 10
    assert guess("ada", times=40, addresses=9)[-1] == 401

    assert sign_in("ada", password=PASSWORD).status_code == 200


@pytest.mark.django_db
def test_guesses_from_ever_new_addresses_are_throttled_and_lock_out_no_address_that_signed_in_lately() -> (
    None
):
    AccountFactory(username="ada")
    assert sign_in("ada", password=PASSWORD).status_code == 200

    statuses = guess("ada", times=110, addresses=11)

    assert Counter(statuses) == {401: 99, 429: 11}
    assert sign_in("ada", address="203.0.113.9", password=PASSWORD).status_code == 429
    assert sign_in("ada", password=PASSWORD).status_code == 200


@pytest.mark.django_db
def test_other_spellings_of_a_name_are_the_same_name() -> None:
    AccountFactory(username="ada")
    spellings = ["ada", "ADA", "Ada", "aDa", "adA"]

    statuses = [sign_in(spelling).status_code for spelling in spellings * 3]

    assert statuses == [401] * 10 + [429] * 5


@pytest.mark.django_db
def test_a_name_that_is_the_number_of_an_account_does_not_lock_that_account_out() -> None:
    ada = AccountFactory(username="ada")

    assert {sign_in(str(ada.pk)).status_code for _ in range(11)} == {401, 429}

    assert sign_in("ada", password=PASSWORD).status_code == 200


@pytest.mark.django_db
def test_the_sixty_first_sign_in_from_an_address_is_refused() -> None:
    statuses = [sign_in(f"unknown-{number}").status_code for number in range(61)]

    assert statuses == [401] * 60 + [429]
    assert sign_in("unknown-61", address="192.0.2.2").status_code == 401


@pytest.mark.django_db
def test_a_subscriber_with_a_64_of_ipv6_has_the_sign_ins_of_one_address() -> None:
    statuses = [sign_in(f"unknown-{n}", address=f"2001:db8::{n:x}").status_code for n in range(61)]

    assert statuses == [401] * 60 + [429]
    assert sign_in("unknown-61", address="2001:db8:0:1::1").status_code == 401


@pytest.mark.django_db
def test_signing_in_works_while_redis_is_away_and_is_still_throttled(own_redis: OwnRedis) -> None:
    AccountFactory(username="ada")
    own_redis.stop()

    statuses = [sign_in("ada", password=PASSWORD).status_code for _ in range(11)]

    assert statuses == [200] * 10 + [429]


@pytest.mark.django_db
def test_the_sixty_first_registration_from_an_address_is_refused() -> None:
    for number in range(60):
        assert register(f"ada-{number}").status_code == 201

    refused = register("one-more")

    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) in range(3000, 3601)


@pytest.mark.django_db
def test_a_subscriber_with_a_64_of_ipv6_registers_no_300_accounts() -> None:
    statuses = [register(f"ada-{n}", address=f"2001:db8::{n:x}").status_code for n in range(65)]

    assert statuses == [201] * 60 + [429] * 5


@pytest.mark.django_db
def test_signing_in_is_noted_with_the_account_and_its_address() -> None:
    ada = AccountFactory(username="ada")

    sign_in("ada", password=PASSWORD)

    line = JournalLine.objects.get()
    assert (line.what, line.subject, line.is_internal) == ("account.signed_in", f"account {ada.pk}", True)
    assert (line.actor, line.actor_id, line.actor_name) == ("account", ada.pk, "ada")
    assert line.after == {"address": HERE}
    assert line.request_id


@pytest.mark.django_db
def test_a_failed_sign_in_is_noted_with_its_address_and_no_name_that_may_be_a_password() -> None:
    ada = AccountFactory(username="ada")

    sign_in("ada")
    sign_in("hunter2")

    [of_ada, of_nobody] = JournalLine.objects.order_by("id")
    for line, subject in ((of_ada, f"account {ada.pk}"), (of_nobody, "account unknown")):
        assert (line.what, line.subject) == ("account.sign_in_failed", subject)
        assert (line.actor, line.actor_id, line.is_internal) == ("anon", None, True)
        assert line.after == {"address": HERE, "failures_without_a_line": 0}
    assert "hunter2" not in str(list(JournalLine.objects.values()))


@pytest.mark.django_db
def test_an_unknown_client_can_not_fill_the_database_with_failed_sign_ins() -> None:
    for number in range(50):
        assert sign_in(f"unknown-{number}").status_code == 401
    assert JournalLine.objects.count() == 20

    sign_in("ada", address="192.0.2.2")

    assert JournalLine.objects.latest("id").after == {"address": "192.0.2.2", "failures_without_a_line": 30}


@pytest.mark.django_db
def test_customers_can_not_sign_in_to_the_admin_and_the_journal_has_the_attempt() -> None:
    ada = AccountFactory(username="ada")

    page = Client(REMOTE_ADDR=HERE).post(reverse("admin:login"), {"username": "ada", "password": PASSWORD})

    assert page.status_code == 200 and b"staff account" in page.content
    line = JournalLine.objects.get()
    assert (line.what, line.subject) == ("account.sign_in_failed", f"account {ada.pk}")


class HeldHasher(MD5PasswordHasher):
    """A hasher that blocks until the gate is opened."""

    algorithm = "held"
    gate = threading.Event()
    running = 0
    most = 0
    mutex = threading.Lock()

    def encode(self, password: str, salt: str) -> str:
        with self.mutex:
            type(self).running += 1
            type(self).most = max(self.most, self.running)
        assert self.gate.wait(30)
        with self.mutex:
            type(self).running -= 1
        return super().encode(password, salt)


@pytest.fixture
def held_hashes(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HeldHasher]]:
    monkeypatch.setattr(password_hashing, "WAIT_SECONDS", 30.0)
    hashed_password()
    settings.PASSWORD_HASHERS = [f"{__name__}.HeldHasher", *settings.PASSWORD_HASHERS]
    HeldHasher.running = HeldHasher.most = 0
    HeldHasher.gate.clear()
    yield HeldHasher
    HeldHasher.gate.set()


@pytest.mark.django_db(transaction=True)
def test_hashing_passwords_occupies_few_threads_and_further_calls_are_refused_at_once(
    held_hashes: type[HeldHasher],
) -> None:
    capacity = password_hashing.CAPACITY_BY_TRUST_LEVEL[TrustLevel.STRANGER]
    refused: list[Any] = []

    def attempt(number: int) -> int:
        answer = sign_in(f"unknown-{number}", address=f"198.51.100.{number}")
        if answer.status_code == 503:
            refused.append(answer)
            if len(refused) == 10:
                held_hashes.gate.set()
        return int(answer.status_code)

    outcomes = race([lambda number=number: attempt(number) for number in range(capacity + 10)])

    assert Counter(outcomes) == {401: capacity, 503: 10}
    assert held_hashes.most == password_hashing.MAX_CONCURRENT
    assert {(answer.json()["code"], answer.headers["Retry-After"]) for answer in refused} == {
        ("overloaded", "1")
    }


@pytest.mark.django_db(transaction=True)
def test_registering_waits_in_the_same_queue(held_hashes: type[HeldHasher]) -> None:
    def open_the_gate() -> None:
        wait_until(lambda: held_hashes.running == password_hashing.MAX_CONCURRENT, seconds=20)
        held_hashes.gate.set()

    registrations = [
        lambda number=number: register(f"ada-{number}", address=f"198.51.100.{number}").status_code
        for number in range(password_hashing.MAX_CONCURRENT + 2)
    ]

    assert race([open_the_gate, *registrations])[1:] == [201] * len(registrations)
    assert held_hashes.most == password_hashing.MAX_CONCURRENT


@contextmanager
def crowd(held_hashes: type[HeldHasher], calls: Sequence[Callable[[], Any]]) -> Iterator[Future[list[int]]]:
    """Further calls that hash, all of them queued until the gate is opened."""
    full = password_hashing.active_count() + len(calls)
    with ThreadPoolExecutor(1) as pool:
        statuses = pool.submit(lambda: race([lambda call=call: call().status_code for call in calls]))
        try:
            wait_until(lambda: password_hashing.active_count() == full, seconds=20)
            yield statuses
        finally:
            held_hashes.gate.set()


def strangers(number: int) -> list[Callable[[], Any]]:
    """Sign-ins with unknown names, two from each address."""
    return [lambda n=n: sign_in(f"unknown-{n}", address=f"198.51.100.{n // 2}") for n in range(number)]


@pytest.mark.django_db(transaction=True)
def test_an_address_has_two_places_in_the_queue_and_an_ipv6_64_too(held_hashes: type[HeldHasher]) -> None:
    calls = [
        lambda: sign_in("ada"),
        lambda: register("bob"),
        lambda: sign_in("ada", address="2001:db8::1"),
        lambda: sign_in("ada", address="2001:db8::2"),
    ]
    with crowd(held_hashes, calls) as statuses:
        refused = [sign_in("cyd"), register("cyd"), sign_in("cyd", address="2001:db8::3")]
        held_hashes.gate.set()
        assert Counter(statuses.result()) == {401: 3, 201: 1}

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(503, "overloaded")] * 3
    assert [answer.headers["Retry-After"] for answer in refused] == ["1"] * 3
    assert sign_in("cyd").status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("factory", [AccountFactory, SuperuserFactory])
def test_many_guessing_addresses_do_not_lock_out_an_account_that_signed_in_lately(
    factory: type[AccountFactory], held_hashes: type[HeldHasher]
) -> None:
    factory(username="ada")
    held_hashes.gate.set()
    assert sign_in("ada", password=PASSWORD).status_code == 200
    held_hashes.gate.clear()

    with crowd(
        held_hashes, strangers(password_hashing.CAPACITY_BY_TRUST_LEVEL[TrustLevel.STRANGER])
    ) as guesses:
        assert sign_in("ada", address="203.0.113.9", password=PASSWORD).status_code == 503
        with crowd(held_hashes, [lambda: sign_in("ada", password=PASSWORD)]) as owners:
            held_hashes.gate.set()
            assert owners.result() == [200]
        assert set(guesses.result()) == {401}


@pytest.mark.django_db(transaction=True)
def test_an_attackers_accounts_do_not_fill_the_operators_part_of_the_queue(
    held_hashes: type[HeldHasher],
) -> None:
    SuperuserFactory(username="olga")
    held_hashes.gate.set()
    assert sign_in("olga", password=PASSWORD).status_code == 200
    known = [f"ada-{n}" for n in range(password_hashing.CAPACITY_BY_TRUST_LEVEL[TrustLevel.KNOWN])]
    for n, name in enumerate(known):
        AccountFactory(username=name)
        assert sign_in(name, address=f"198.51.100.{n // 2}", password=PASSWORD).status_code == 200
    held_hashes.gate.clear()

    attack = [lambda n=n: sign_in(known[n], address=f"198.51.100.{n // 2}") for n in range(len(known))]
    with crowd(held_hashes, attack):
        AccountFactory(username="eve")
        assert sign_in("eve", address="203.0.113.9").status_code == 503
        with crowd(held_hashes, [lambda: sign_in("olga", password=PASSWORD)]) as operators:
            held_hashes.gate.set()
            assert operators.result() == [200]


@pytest.mark.django_db(transaction=True)
def test_recent_sign_ins_are_checked_only_when_the_queue_is_half_full(
    held_hashes: type[HeldHasher], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    ada = AccountFactory(username="ada")
    monkeypatch.setattr(
        sign_ins, "_has_recent_sign_in", lambda account_id, _: bool(checked.append(account_id))
    )
    held_hashes.gate.set()
    sign_in("ada")
    assert checked == []
    held_hashes.gate.clear()

    with crowd(held_hashes, strangers(password_hashing.CAPACITY_BY_TRUST_LEVEL[TrustLevel.STRANGER])):
        assert sign_in("ada").status_code == 503
        assert sign_in("ada", address="198.51.100.0").status_code == 503
    assert checked == [ada.pk]
