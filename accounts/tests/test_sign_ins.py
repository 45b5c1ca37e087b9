"""Signing in: guesses are throttled without locking owners out, hashing is bounded, the journal has it."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.signing_in import password_hashing, sign_ins
from foundation.concurrency.event_loop import CALL_POOL
from foundation.models import JournalLine
from foundation.rates.throttling import Limit
from foundation.tests import asgi_client
from foundation.tests.asgi_client import Answer
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory, hashed_password

pytestmark = pytest.mark.django_db

HERE = "192.0.2.1"


def sign_in(name: str, address: str = HERE, password="wrong"):
    return Client(REMOTE_ADDR=address).post(
        "/api/v1/auth/token", {"username": name, "password": password}, content_type="application/json"
    )


def register(name: str, address: str = HERE):
    body = {"username": name, "email": "ada@example.com", "password": PASSWORD}
    return Client(REMOTE_ADDR=address).post("/api/v1/users", body, content_type="application/json")


def guess(name: str, *, times: int, addresses: int) -> list[int]:
    return [sign_in(name, address=f"198.51.100.{number % addresses}").status_code for number in range(times)]


def test_the_eleventh_sign_in_of_a_name_from_an_address_is_refused_whatever_the_password():
    AccountFactory(username="ada")
    statuses = [sign_in("ada").status_code for _ in range(10)]
    refused = sign_in("ada", password=PASSWORD)

    assert statuses == [401] * 10
    assert refused.status_code == 429
    assert refused.json()["code"] == "throttled"
    assert int(refused.headers["Retry-After"]) in range(1, 61)
    assert sign_in("bob").status_code == 401


def test_a_program_with_an_old_password_uses_up_its_name_s_attempts_and_not_those_of_its_office():
    AccountFactory(username="ada")
    AccountFactory(username="program")

    statuses = [sign_in("program").status_code for _ in range(70)]

    assert statuses == [401] * 10 + [429] * 60
    assert sign_in("ada", password=PASSWORD).status_code == 200


def test_ten_wrong_passwords_a_minute_from_elsewhere_do_not_lock_the_owner_out():
    AccountFactory(username="ada")

    assert guess("ada", times=20, addresses=1) == [401] * 10 + [429] * 10
    assert guess("ada", times=40, addresses=9)[-1] == 401

    assert sign_in("ada", password=PASSWORD).status_code == 200


def test_guesses_from_ever_new_addresses_are_throttled_and_lock_out_no_address_that_signed_in_lately():
    AccountFactory(username="ada")
    assert sign_in("ada", password=PASSWORD).status_code == 200

    statuses = guess("ada", times=110, addresses=11)

    assert Counter(statuses) == {401: 99, 429: 11}
    assert sign_in("ada", address="203.0.113.9", password=PASSWORD).status_code == 429
    assert sign_in("ada", password=PASSWORD).status_code == 200


def test_other_spellings_of_a_name_are_the_same_name():
    AccountFactory(username="ada")
    spellings = ["ada", "ADA", "Ada", "aDa", "adA"]

    statuses = [sign_in(spelling).status_code for spelling in spellings * 3]

    assert statuses == [401] * 10 + [429] * 5


def test_a_name_that_is_the_number_of_an_account_does_not_lock_that_account_out():
    ada = AccountFactory(username="ada")

    assert {sign_in(str(ada.pk)).status_code for _ in range(11)} == {401, 429}

    assert sign_in("ada", password=PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("own", "elsewhere"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::{:x}", "2001:db8:0:1::1")]
)
def test_the_sixty_first_sign_in_from_an_address_or_a_64_of_ipv6_is_refused(own, elsewhere):
    statuses = [sign_in(f"unknown-{n}", address=own.format(n)).status_code for n in range(61)]

    assert statuses == [401] * 60 + [429]
    assert sign_in("unknown-61", address=elsewhere).status_code == 401


def test_signing_in_works_while_redis_is_away_and_is_still_throttled(own_redis):
    AccountFactory(username="ada")
    own_redis.stop()

    assert [sign_in("ada", password=PASSWORD).status_code for _ in range(11)] == [200] * 10 + [429]


@pytest.mark.parametrize("own", ["192.0.2.1", "2001:db8::{:x}"])
def test_the_sixty_first_registration_from_an_address_or_a_64_of_ipv6_is_refused(own):
    *made, refused = [register(f"ada-{n}", address=own.format(n)) for n in range(61)]

    assert [each.status_code for each in made] == [201] * 60
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) in range(3000, 3601)


def test_signing_in_is_noted_with_the_account_and_its_address():
    ada = AccountFactory(username="ada")

    sign_in("ada", password=PASSWORD)

    line = JournalLine.objects.get()
    assert (line.what, line.subject, line.is_internal) == ("account.signed_in", f"account {ada.pk}", True)
    assert (line.actor, line.actor_id, line.actor_name) == ("account", ada.pk, "ada")
    assert line.after == {"address": HERE}
    assert line.request_id


def test_a_failed_sign_in_is_noted_with_its_address_and_no_name_that_may_be_a_password():
    ada = AccountFactory(username="ada")

    sign_in("ada")
    sign_in("hunter2")

    [of_ada, of_nobody] = JournalLine.objects.order_by("id")
    for line, subject in ((of_ada, f"account {ada.pk}"), (of_nobody, "account unknown")):
        assert (line.what, line.subject) == ("account.sign_in_failed", subject)
        assert (line.actor, line.actor_id, line.is_internal) == ("anon", None, True)
        assert line.after == {"address": HERE, "failures_without_a_line": 0}
    assert "hunter2" not in str(list(JournalLine.objects.values()))


def test_an_unknown_client_can_not_fill_the_database_with_failed_sign_ins():
    for number in range(50):
        assert sign_in(f"unknown-{number}").status_code == 401
    assert JournalLine.objects.count() == 20

    sign_in("ada", address="192.0.2.2")

    assert JournalLine.objects.latest("id").after == {"address": "192.0.2.2", "failures_without_a_line": 30}


def test_customers_can_not_sign_in_to_the_admin_and_the_journal_has_the_attempt():
    ada = AccountFactory(username="ada")

    page = Client(REMOTE_ADDR=HERE).post(reverse("admin:login"), {"username": "ada", "password": PASSWORD})

    assert page.status_code == 200 and b"staff account" in page.content
    line = JournalLine.objects.get()
    assert (line.what, line.subject) == ("account.sign_in_failed", f"account {ada.pk}")


class HeldHasher(MD5PasswordHasher):
    """A hasher that blocks until the gate is opened, and then takes so many seconds, and no processor."""

    algorithm = "held"
    seconds = 0.0
    gate = threading.Event()
    running = 0
    most = 0
    mutex = threading.Lock()

    def encode(self, password: str, salt: str) -> str:
        with self.mutex:
            type(self).running += 1
            type(self).most = max(self.most, self.running)
        assert self.gate.wait(30)
        time.sleep(self.seconds)
        with self.mutex:
            type(self).running -= 1
        return super().encode(password, salt)


@pytest.fixture
def held_hashes(settings, monkeypatch):
    hashed_password()
    settings.PASSWORD_HASHERS = [f"{__name__}.HeldHasher", *settings.PASSWORD_HASHERS]
    HeldHasher.running = HeldHasher.most = 0
    HeldHasher.gate.clear()
    yield HeldHasher
    HeldHasher.gate.set()


async def call(path: str, body, address: str, **about) -> Answer:
    return await asgi_client.send_request("POST", path, body, address=address, **about)


def attempt(name: str, address: str = HERE, password="wrong") -> Coroutine[Any, Any, Answer]:
    return call("/api/v1/auth/token", {"username": name, "password": password}, address)


def registration(name: str) -> Coroutine[Any, Any, Answer]:
    body = {"username": name, "email": "ada@example.com", "password": PASSWORD}
    return call("/api/v1/users", body, HERE)


def form(path: str, address: str = HERE, *, accept="*/*", **fields: str) -> Coroutine[Any, Any, Answer]:
    """A form of the operators' pages."""
    token = "c" * 32
    headers = {
        "Accept": accept,
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": f"csrftoken={token}",
    }
    body = urlencode(fields | {"csrfmiddlewaretoken": token}).encode()
    return call(path, body, address, headers=headers)


def operators_attempt(name: str, address: str = HERE, password="wrong", accept="*/*"):
    return form("/admin/login/", address, accept=accept, username=name, password=password)


def attempt_by_parts(name: str, decoy: str) -> Coroutine[Any, Any, Answer]:
    """A form in parts, which has another name where one in URL encoding would be."""
    sent = {"csrfmiddlewaretoken": "c" * 32, "username": name, "password": "wrong"}
    parts = sent | {"x": f"&username={decoy}&"}
    headers = {"Content-Type": MULTIPART_CONTENT, "Cookie": f"csrftoken={'c' * 32}"}
    return call("/admin/login/", encode_multipart(BOUNDARY, parts), HERE, headers=headers)


async def queue_up(*calls: Coroutine[Any, Any, Answer]) -> list[asyncio.Task[Answer]]:
    """Make these calls, whose hashes are held, once those before them hash or wait."""
    tasks = []
    for each in calls:
        before = password_hashing._running + password_hashing.queued_count()
        tasks.append(asyncio.create_task(each))
        while password_hashing._running + password_hashing.queued_count() == before:
            await asyncio.sleep(0.005)
    return tasks


def strangers(number: int) -> list[Coroutine[Any, Any, Answer]]:
    """Sign-ins with unknown names, two from each network."""
    return [attempt(f"unknown-{n}", address=f"198.51.{n // 2}.1") for n in range(number)]


def noting() -> tuple[Callable[[str, Coroutine[Any, Any, Answer]], Coroutine[Any, Any, Answer]], list[str]]:
    """What notes the name of a call once it is answered, and these names."""
    answered: list[str] = []

    async def noted(name, each):
        answer = await each
        answered.append(name)
        return answer

    return noted, answered


def one_by_one(calls: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    async def answers():
        return [await each for each in calls]

    return asyncio.run(answers())


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def test_an_operators_form_counts_for_the_name_that_it_signs_in_however_that_is_spelled(transactional_db):
    SuperuserFactory(username="olga")
    SuperuserFactory(username="\ud55c")

    *guesses, refused = one_by_one(attempt_by_parts("olga", f"nobody{number}") for number in range(11))
    assert not any(b"Too many" in answer.body for answer in guesses)
    assert b"Too many" in refused.body
    *guesses, refused = one_by_one(operators_attempt("\u1112\u1161\u11ab") for _ in range(11))
    assert (statuses(guesses), refused.status) == ({200: 10}, 429)


def test_networks_that_guess_passwords_hold_up_neither_a_right_password_nor_an_operator(
    transactional_db, held_hashes, monkeypatch
):
    monkeypatch.setattr(held_hashes, "seconds", 0.1)
    AccountFactory(username="ada")
    SuperuserFactory(username="olga")
    noted, answered = noting()

    async def sign_in_beside_guesses():
        guesses = [noted("guess", each) for each in strangers(22)]
        right = noted("ada", attempt("ada", "203.0.113.1", PASSWORD))
        operator = noted("olga", operators_attempt("olga", "203.0.114.1", PASSWORD))
        tasks = await queue_up(*guesses, right, operator)
        held_hashes.gate.set()
        return await asyncio.gather(*tasks)

    *guesses, right, operator = asyncio.run(sign_in_beside_guesses())

    assert statuses(guesses) == {401: 22}
    assert (right.status, operator.status, operator.headers["location"]) == (200, 302, "/admin/")
    # One guess of each network goes first, and the other ones later.
    assert max(answered.index("ada"), answered.index("olga")) < len(answered) - 2


@pytest.mark.parametrize("form_of", [operators_attempt, attempt], ids=["page", "call"])
def test_an_operator_with_one_time_codes_has_a_turn_in_a_crowd_from_a_new_network_too(
    transactional_db, form_of, held_hashes, monkeypatch
):
    monkeypatch.setattr(held_hashes, "seconds", 0.1)
    TOTPDevice.objects.create(user=SuperuserFactory(username="olga"), confirmed=True)
    noted, answered = noting()

    async def sign_in_in_a_crowd():
        crowd = [noted("crowd", attempt(f"unknown-{n}", f"198.51.{n}.1")) for n in range(24)]
        tasks = await queue_up(*crowd, noted("olga", form_of("olga", "203.0.114.1", PASSWORD)))
        held_hashes.gate.set()
        return await asyncio.gather(*tasks)

    *crowd, _ = asyncio.run(sign_in_in_a_crowd())

    assert statuses(crowd) == {401: 24}
    assert answered.index("olga") < 12


def test_a_burst_of_sign_ins_with_an_office_among_them_is_answered_and_waits_without_a_thread(
    transactional_db, held_hashes
):
    AccountFactory.create_batch(66)
    names = list(User.objects.values_list("username", flat=True))

    async def burst():
        calls = [attempt(name, f"198.51.{max(n, 6)}.1", PASSWORD) for n, name in enumerate(names)]
        burst = asyncio.gather(*calls)
        while password_hashing.queued_count() < 64:
            await asyncio.sleep(0.005)
        products = await asgi_client.send_request("GET", "/api/v1/products")
        # What looks up how well a client is known has threads for a moment.
        while CALL_POOL.busy():
            await asyncio.sleep(0.005)
        queued = password_hashing.queued_count()
        held_hashes.gate.set()
        return await burst, queued, products

    answers, queued, products = asyncio.run(burst())

    assert statuses(answers) == {200: 66}
    assert products.status == 200 and queued >= 20


def test_few_passwords_are_hashed_at_once_and_a_full_queue_refuses_further_calls(
    transactional_db, held_hashes, monkeypatch
):
    monkeypatch.setattr(password_hashing, "MAX_QUEUED", 4)
    pages = [
        reverse("admin:login"),
        reverse("admin:password_change"),
        reverse("admin:auth_user_password_change", args=[AccountFactory().pk]),
        reverse("admin:auth_user_add"),
        reverse("admin:auth_user_add_member"),
    ]

    async def flood():
        calls = [attempt("ada"), registration("bob"), attempt("ada"), operators_attempt("ada")]
        waiting = await queue_up(*calls, attempt("ada"), attempt("ada"))
        refused = [await attempt("cyd"), await registration("cyd")]
        refused += [await form(page, username="cyd", password=PASSWORD) for page in pages]
        while held_hashes.running < password_hashing.MAX_CONCURRENT:
            await asyncio.sleep(0.005)
        held_hashes.gate.set()
        return await asyncio.gather(*waiting), refused

    answers, refused = asyncio.run(flood())

    assert statuses(answers) == {401: 4, 201: 1, 200: 1}
    assert held_hashes.most == password_hashing.MAX_CONCURRENT
    assert {(each.status, each.headers["retry-after"]) for each in refused} == {(503, "1")}
    assert {each.json()["code"] for each in refused} == {"overloaded"}
    assert password_hashing._running == 0


@pytest.mark.parametrize("make", [attempt, operators_attempt])
def test_an_address_with_too_many_attempts_is_refused_before_its_turn(
    transactional_db, make, held_hashes, monkeypatch
):
    monkeypatch.setattr(sign_ins, "ATTEMPTS_BY_ADDRESS", Limit("few", times=3, seconds=60))

    async def flood():
        waiting = await queue_up(*strangers(1), make("ada"), make("bob"), make("cyd"))
        refused = await asyncio.wait_for(make("dan"), 5)
        held_hashes.gate.set()
        await asyncio.gather(*waiting)
        return refused

    refused = asyncio.run(flood())

    assert (refused.status, refused.json()["code"]) == (429, "throttled")


def test_a_browser_past_a_limit_gets_a_page_that_says_when_to_try_again(transactional_db):
    """And a name is counted as the form reads it: without spaces around it."""
    SuperuserFactory(username="olga")
    browser, names = "text/html,*/*;q=0.8", ["olga", " olga", "olga ", "OLGA"] * 3
    guesses = [operators_attempt(name, accept=browser) for name in names]

    *tried, refused, program = one_by_one([*guesses, operators_attempt("olga")])

    assert statuses(tried) == {200: 10, 429: 1}
    assert (refused.status, refused.headers["content-type"]) == (429, "text/html; charset=utf-8")
    seconds = int(refused.headers["retry-after"])
    assert seconds in range(1, 61)
    assert f"Too many attempts; wait a while. Try again in {seconds} s." in refused.body.decode()
    assert (program.status, program.json()["code"]) == (429, "throttled")


@pytest.mark.parametrize("factory", [AccountFactory, SuperuserFactory])
def test_many_guessing_networks_are_overtaken_by_an_account_that_signed_in_lately(
    transactional_db, factory, held_hashes, monkeypatch
):
    monkeypatch.setattr(password_hashing, "MAX_QUEUED", 8)
    factory(username="ada")
    held_hashes.gate.set()
    assert sign_in("ada", password=PASSWORD).status_code == 200
    held_hashes.gate.clear()

    async def attack():
        guesses = await queue_up(*strangers(10))
        owner = asyncio.create_task(attempt("ada", password=PASSWORD))
        # The newest of the guesses makes room.
        await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        held_hashes.gate.set()
        return await asyncio.gather(*guesses), await owner

    guesses, owner = asyncio.run(attack())

    assert owner.status == 200
    assert statuses(guesses) == {401: 9, 503: 1}


def test_an_attackers_accounts_do_not_hold_up_operators(transactional_db, held_hashes):
    SuperuserFactory(username="olga")
    held_hashes.gate.set()
    assert sign_in("olga", password=PASSWORD).status_code == 200
    for n in range(10):
        AccountFactory(username=f"ada-{n}")
        assert sign_in(f"ada-{n}", address=f"198.51.{n}.1", password=PASSWORD).status_code == 200
    held_hashes.gate.clear()
    User.objects.update(password=hashed_password())
    noted, answered = noting()

    async def attack():
        known = [noted(f"ada-{n}", attempt(f"ada-{n}", f"198.51.{n}.1", PASSWORD)) for n in range(10)]
        waiting = await queue_up(*known)
        waiting += await queue_up(noted("olga", attempt("olga", password=PASSWORD)))
        held_hashes.gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(attack())

    # Two were under way, and answers of turns that follow each other may come in another order.
    assert answered.index("olga") <= 5


def test_recent_sign_ins_are_looked_for_only_if_a_request_has_to_wait(
    transactional_db, held_hashes, monkeypatch
):
    looked_for = []
    ada = AccountFactory(username="ada")
    monkeypatch.setattr(
        sign_ins, "_has_recent_sign_in", lambda account_id, _: bool(looked_for.append(account_id))
    )

    async def wait_behind_others():
        waiting = await queue_up(*[attempt(f"unknown-{n}") for n in range(password_hashing.MAX_CONCURRENT)])
        assert looked_for == []
        waiting += await queue_up(attempt("ada"), attempt("unknown"))
        held_hashes.gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(wait_behind_others())

    # For an unknown name as well: what is answered sooner would tell which names there are.
    assert looked_for == [ada.pk, 0]
