"""Keyed calls: one effect for each key, the same answer byte for byte, and claims that hold duplicates."""

import sys
import threading
import time
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from redis import Redis

from accounts.tests.clients import client_of, new_customer, problem_of
from foundation.account import Account
from foundation.errors import Rejected
from foundation.http import keyed_calls
from foundation.http.messages import BurstRequest
from foundation.idempotency import claims, recorded_answers
from foundation.idempotency.claims import InFlight
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.models import IdempotencyKey
from foundation.redis import redis_client
from foundation.tests import tally
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory
from foundation.tests.outages import OwnRedis
from foundation.tests.racing import race
from foundation.tests.second_process import finish, in_flight_elsewhere
from foundation.tests.tally_urls import REFUSALS, count, counted
from foundation.tests.waiting import within

pytestmark = pytest.mark.urls("foundation.tests.tally_urls")
REFERENCE = UUID("01935a3e-0000-7000-8000-000000000001")


@pytest.fixture(params=["up", "down", "flushed"])
def meanwhile(request, own_redis):
    """What happens to Redis between two calls; with `down` it is unavailable from the start."""
    if request.param == "down":
        own_redis.stop()
    if request.param == "flushed":
        return lambda: flush(own_redis)
    return lambda: None


def flush(server: OwnRedis):
    with Redis.from_url(server.url) as client:
        client.flushall()


@pytest.fixture
def account(counting):
    return AccountFactory()


@pytest.fixture
def api(tally_tables, db):
    tally.reset()
    return new_customer()


def parsed(body: bytes, *, key="key") -> BurstRequest:
    fields = {b"content-type": b"application/json", b"idempotency-key": key.encode()}
    request = BurstRequest("POST", "/tally", fields, body)
    request.user = Account(id=1, is_staff=False)
    return request


def fingerprint(body: bytes) -> str:
    return keyed_calls.read_keyed_call(parsed(body), counted).fingerprint


def key_of(header: str) -> str:
    return keyed_calls.read_keyed_call(parsed(b"{}", key=header), counted).key_hash


# The key


INVALID_KEYS = ["", '""', "k" * 256, f'"{"k" * 256}"', "caf\xe9", "a\tb", "a\x7fb", "a\x00b", '"\u2603"']


@in_one_test("key", [None, *INVALID_KEYS])
def test_a_call_without_a_key_or_with_one_that_is_not_valid_is_refused(api, key):
    response = api._call(
        "POST", "/tally", {"name": "one"}, "", {} if key is None else {"Idempotency-Key": key}
    )
    code = "idempotency_key_missing" if key is None else "idempotency_key_invalid"
    assert problem_of(response) == (400, code)
    assert tally.entries() == {}


@in_one_test("key", ["k", "k" * 255, f'"{"q" * 255}"', "a b", "".join(map(chr, range(33, 127)))])
def test_a_key_of_1_to_255_printable_characters_is_accepted(api, key):
    assert api.post("/tally", {"name": key[:9]}, key=key).status_code == 201


def test_the_quoted_form_names_the_same_key_as_the_bare_one_and_another_key_is_another():
    same = {
        '"8e03978e-40d5-43dd-bc93-6894a57f9324"': "8e03978e-40d5-43dd-bc93-6894a57f9324",
        r'"a\"b"': 'a"b',
        r'"a\\b"': r"a\b",
        r'"a\b"': r"a\b",
    }
    assert {quoted: key_of(quoted) for quoted in same} == {quoted: key_of(same[quoted]) for quoted in same}
    others = ["KEY", "key ", '"key', 'key"', "kéy".encode().decode("ascii", "ignore")]
    assert [other for other in others if key_of(other) == key_of("key")] == []


# The first call and its repeats


def test_a_repeat_gets_the_first_calls_response_byte_for_byte(api, meanwhile):
    first = api.post("/tally", {"name": "one"}, key="key")
    assert (first.status_code, first.json()["position"]) == (201, 1)
    assert "Idempotency-Replayed" not in first
    for _ in range(2):
        meanwhile()
        again = api.post("/tally", {"name": "one"}, key='"key"')
        assert (again.status_code, again.content) == (201, first.content)
        assert again["Location"] == first["Location"] == "/api/v1/tally/1"
        assert again["Content-Type"] == first["Content-Type"] == "application/json; charset=utf-8"
        assert again["Idempotency-Replayed"] == "true"
    assert tally.entries() == {"one": 1}


def test_a_declined_payment_is_replayed_as_the_same_problem(api):
    same = {"X-Request-ID": "one"}
    first, again = (api.post("/tally", {"name": "declined"}, key="key", **same) for _ in range(2))
    assert (first.status_code, again.status_code) == (402, 402)
    assert first["Content-Type"] == again["Content-Type"] == "application/problem+json"
    assert first.content == again.content
    assert again["Idempotency-Replayed"] == "true"
    other = api.post("/tally", {"name": "declined"}, key="key", **{"X-Request-ID": "two"})
    assert (other.content, other["X-Request-ID"]) == (first.content, "two")
    # As release 2.0 recorded it.
    IdempotencyKey.objects.update(body=(recorded := '{"code":"payment_declined","status":402}'))
    assert api.post("/tally", {"name": "declined"}, key="key").content.decode() == recorded


@pytest.mark.parametrize("what", ["body", "path", "method"])
def test_a_key_with_another_request_is_422(api, meanwhile, what):
    api.post("/tally", {"name": "one"}, key="key")
    meanwhile()
    match what:
        case "body":
            response = api.post("/tally", {"name": "two"}, key="key")
        case "path":
            response = api.post("/other-tally", {"name": "one"}, key="key")
        case _:
            response = api._call("PUT", "/tally", {"name": "one"}, "key", {})
    assert problem_of(response) == (422, "idempotency_key_reused")
    assert tally.entries() == {"one": 1}


def test_two_accounts_may_use_the_same_key(api, meanwhile):
    assert api.post("/tally", {"name": "mine"}, key="key").json()["position"] == 1
    meanwhile()
    other = new_customer()
    assert other.post("/tally", {"name": "theirs"}, key="key").json()["position"] == 2


@pytest.mark.parametrize("name", [*REFUSALS, "broken"])
def test_a_refused_call_is_not_recorded_and_may_be_retried(api, meanwhile, name):
    assert api.post("/tally", {"name": name}, key="key").status_code >= 400
    assert not IdempotencyKey.objects.exists()
    meanwhile()
    assert api.post("/tally", {"name": "one"}, key="key").status_code == 201
    assert tally.entries() == {"one": 1}


# The same request, by value

SAME = [
    (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
    (b'{"a":1}', b' {\n\t"a" : 1 } '),
    (b'{"a":1,"b":null}', b'{"a":1}'),
    (b'{"a":{"b":null}}', b'{"a":{}}'),
    (b"{}", b""),
    (b'{"a":1}', b'{"a":1.0}'),
    (b'{"a":100}', b'{"a":1e2}'),
    (b'{"a":[{"b":0}]}', b'{"a":[{"b":-0.0}]}'),
    ('{"a":"é/🎟"}'.encode(), rb'{"a":"\u00e9\/\ud83c\udf9f"}'),
    (b'{"a":9007199254740993}', b'{"a":9007199254740993}'),
    (b'{"a":1e300}', b'{"a":1.0e300}'),
    (b'{"a":18446744073709551615}', b'{"a":18446744073709551615}'),
]
DIFFERENT = [
    (b'{"a":[1,2]}', b'{"a":[2,1]}'),
    (b'{"a":1}', b'{"a":"1"}'),
    (b'{"a":1}', b'{"a":true}'),
    (b'{"a":1}', b'{"a":1.5}'),
    (b'{"a":0}', b'{"a":false}'),
    (b'{"a":0}', b'{"a":null}'),
    (b'{"a":[null]}', b'{"a":[]}'),
    (b'{"a":{}}', b"{}"),
    (b'{"a":""}', b"{}"),
    (b'{"a":"x"}', b'{"a":"X"}'),
    (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
    (b'{"a":{"b":1}}', b'{"a":1,"b":1}'),
]


def test_bodies_with_equal_values_have_one_fingerprint_and_others_another():
    assert [pair for pair in SAME if fingerprint(pair[0]) != fingerprint(pair[1])] == []
    assert [pair for pair in DIFFERENT if fingerprint(pair[0]) == fingerprint(pair[1])] == []


# At once, and in flight


def call_of(account: User, key="key") -> KeyedCall:
    return KeyedCall(account.id, recorded_answers.key_hash(key), "body", counted)


def perform(call: KeyedCall, name="here"):
    return keyed_calls.perform_blocking(call, lambda: recorded_answers.run_once(call, lambda: count(name)))


@pytest.fixture
def _frequent_switches():
    """The interpreter changes threads every 10 µs, not 5 ms: also within a few statements."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("_frequent_switches")
def test_100_calls_at_once_with_one_key_have_one_effect(account, meanwhile):
    def call(name):
        try:
            return perform(call_of(account), name)
        except Rejected as error:
            return error.code

    results = race([lambda name=f"call-{number}": call(name) for number in range(100)])
    meanwhile()
    errors = [outcome for outcome in results if isinstance(outcome, BaseException)]
    assert (results.count(1), errors) == (1, [])
    replays = results.count(Replay(counted(1), None))
    assert replays + results.count("idempotency_key_in_flight") == 99
    assert perform(call_of(account)) == Replay(counted(1), None)
    assert tally.counted() == len(tally.entries()) == 1


@pytest.fixture
def first_call(account):
    """Start a first call, which claims its key and stays in flight until its event is set."""
    events: list[threading.Event] = []
    threads: list[threading.Thread] = []

    def start(work):
        is_claimed, may_end = threading.Event(), threading.Event()

        def work_until_event():
            outcome = work()
            is_claimed.set()
            assert may_end.wait(30)
            return outcome

        call = call_of(account)
        threads.append(
            threading.Thread(
                target=lambda: race([lambda: keyed_calls.perform_blocking(call, work_until_event)])
            )
        )
        threads[-1].start()
        assert is_claimed.wait(10)
        events.append(may_end)
        return may_end

    yield start
    for event in events:
        event.set()
    for thread in threads:
        thread.join()


def test_a_duplicate_request_is_refused_after_waiting_a_second_for_the_first(account, meanwhile, first_call):
    first_call(lambda: None)
    meanwhile()
    started_at = time.monotonic()
    response = client_of(account).post("/tally", {"name": "one"}, key="key")
    assert 1.0 <= time.monotonic() - started_at < 2.5
    assert problem_of(response) == (409, "idempotency_key_in_flight")
    assert response["Retry-After"] == "1"
    assert tally.entries() == {}


def test_a_duplicate_request_is_woken_as_soon_as_the_first_call_has_ended(account, first_call, monkeypatch):
    monkeypatch.setattr(keyed_calls, "DUPLICATE_WAIT_SECONDS", 60)
    monkeypatch.setattr(keyed_calls, "SHORTEST_PAUSE_SECONDS", 30)
    may_end = first_call(lambda: None)
    threading.Timer(0.2, may_end.set).start()
    with within(10):
        assert perform(call_of(account)) == 1


def test_a_duplicate_request_gets_the_reference_while_the_first_call_waits(account, meanwhile, first_call):
    started = KeyedCall(account.id, recorded_answers.key_hash("key"), "body", lambda outcome: None)
    first_call(
        lambda: recorded_answers.run_once(started, lambda: count("one"), reference=lambda outcome: REFERENCE)
    )
    meanwhile()
    with within(0.9):
        assert perform(call_of(account)) == Replay(None, REFERENCE)


def test_a_claim_is_released_when_no_other_call_runs_even_if_the_work_fails(account, own_redis):
    with pytest.raises(ValueError):
        perform(call_of(account), "raising")
    assert redis_client.client().keys() == []
    with within(0.5):
        assert perform(call_of(account), "one") == 1
    assert redis_client.client().keys() == []


def test_while_other_calls_run_a_claim_is_released_by_the_next_round_trip(account, own_redis, first_call):
    first_call(lambda: None)
    [name] = redis_client.client().keys()
    assert 25_000 < redis_client.client().pttl(name) <= 30_000, "the lease of the settings"
    claim_counts = [1]
    for name in ("second", "third", "fourth"):
        perform(call_of(account, name), name)
        claim_counts.append(len(redis_client.client().keys()))
    assert claim_counts == [1, 2, 2, 2]
    # Nor does one that is not released yet delay a repeat.
    with within(0.9):
        assert perform(call_of(account, "fourth")) == Replay(counted(3), None)


# The first call is in another process


def test_a_call_in_flight_in_another_process_is_refused_and_later_replayed(account, own_redis):
    call = call_of(account)
    with in_flight_elsewhere(call, REDIS_URL=own_redis.url) as process:
        with pytest.raises(Rejected) as refused:
            perform(call)
        assert refused.value.code == "idempotency_key_in_flight"
        finish(process)
    assert perform(call) == Replay(counted(1), None)
    assert tally.entries() == {"elsewhere": 1}


@pytest.mark.parametrize("outage", ["down", "flushed"])
def test_without_a_claim_in_redis_the_database_makes_the_second_call_wait(account, own_redis, outage):
    call = call_of(account)
    results = []
    if outage == "down":
        own_redis.stop()
    with in_flight_elsewhere(call, REDIS_URL=own_redis.url) as process:
        if outage == "flushed":
            flush(own_redis)
        thread = threading.Thread(target=lambda: results.extend(race([lambda: perform(call)])))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        finish(process)
        thread.join(30)
    assert results == [Replay(counted(1), None)]
    assert tally.entries() == {"elsewhere": 1}


def test_without_redis_the_next_call_takes_over_at_once_when_the_first_process_is_killed(account, own_redis):
    own_redis.stop()
    call = call_of(account)
    with in_flight_elsewhere(call, REDIS_URL=own_redis.url) as process:
        process.kill()
        process.wait()
    assert perform(call) == 1
    assert tally.entries() == {"here": 1}


# The claims alone


def evals() -> int:
    stats = redis_client.client().info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_a_key_belongs_to_one_call_until_its_release_and_may_be_acquired_again(own_redis):
    first, duplicate, other = (claims.new_claim(account, "key") for account in (1, 1, 2))
    assert claims.acquire([first, other]) == [True, True]
    assert claims.acquire([duplicate]) == [False]
    assert claims.acquire([first, duplicate]) == [True, False]
    claims.release_later(duplicate)
    claims.release_ended()
    assert claims.acquire([duplicate]) == [False], "a call releases only its own claim"
    claims.release_later(first)
    assert claims.acquire([duplicate]) == [True]


def test_a_batch_acquires_and_releases_claims_in_one_round_trip(own_redis):
    ended = [claims.new_claim(1, str(number)) for number in range(50)]
    assert all(claims.acquire(ended))
    for claim in ended:
        claims.release_later(claim)
    before = evals()
    assert all(claims.acquire([claims.new_claim(2, str(number)) for number in range(50)]))
    assert evals() == before + 1
    assert len(redis_client.client().keys()) == 50


def test_only_duplicates_of_calls_in_flight_are_refused(own_redis):
    in_flight, free, other = (claims.new_claim(*of) for of in ((1, "one"), (1, "two"), (2, "one")))
    claims.acquire([in_flight])
    refusals = claims.acquire_or_refuse([free, claims.new_claim(1, "one"), None, other])
    assert [type(refusal) for refusal in refusals] == [type(None), InFlight, type(None), type(None)]
    assert claims.acquire_or_refuse([None, None]) == [None, None]
    own_redis.stop()
    assert claims.acquire([in_flight, claims.new_claim(1, "one")]) == [True, True], "without Redis all are"
