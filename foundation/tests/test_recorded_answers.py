import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from foundation.concurrency.batching import Batcher
from foundation.db import transactions
from foundation.errors import KeyReused, Rejected
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Answer, Effect, KeyedCall, Replay
from foundation.models import IdempotencyKey
from foundation.tests import servers, tally
from foundation.tests.factories import AccountFactory
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each
from foundation.tests.second_connection import ask

REFERENCE = UUID("01935a3e-0000-7000-8000-000000000001")


@pytest.fixture
def account_id(tally_tables, db):
    tally.reset()
    return AccountFactory().id


@pytest.fixture
def racing_account_id(counting):
    """An account for calls from several threads, or with a connection that breaks."""
    return AccountFactory().id


def keyed(account_id: int, key="key", *, body="body", answer=None) -> KeyedCall:
    return KeyedCall(account_id, recorded_answers.key_hash(key), body, answer or answer_with)


def unsettled(account_id: int) -> KeyedCall:
    return keyed(account_id, answer=lambda outcome: None)


def answer_with(position: int) -> Answer:
    return Answer(
        201, b'{"position":%d,"name":"caf\xc3\xa9 \xf0\x9f\x8e\x9f"}' % position, f"/tally/{position}"
    )


def settled(call: KeyedCall, position: int) -> Answer:
    [answer] = transactions.run(
        lambda: recorded_answers.record_settled_answers([(call, answer_with(position))]), transactions.KEYED
    )
    return answer


def count(name="one") -> int:
    [position] = tally.count([name])
    if isinstance(position, Exception):
        raise position
    return position


def once(account_id: int, name="one", *, key="key"):
    """A call that counts the name."""
    return recorded_answers.run_once(keyed(account_id, key), lambda: count(name))


def grow_old(**which):
    """Make recorded keys just older than the retention of a day."""
    day = timedelta(days=1, seconds=1)
    IdempotencyKey.objects.filter(**which).update(created_at=timezone.now() - day)


def test_100_calls_at_once_with_one_key_have_one_effect_and_one_answer(racing_account_id):
    results = race([lambda name=f"call-{n}": once(racing_account_id, name) for n in range(100)])
    assert results.count(1) == 1
    assert results.count(Replay(answer_with(1), None)) == 99
    assert tally.counted() == 1


def test_calls_at_once_whose_answers_are_equal_are_repeats_of_the_one_that_was_recorded(racing_account_id):
    """Two forms that generate as many codes have equal answers, and one of them generated none."""
    call = keyed(racing_account_id, answer=lambda _: Answer(200, b"{}"))
    results = race([lambda: recorded_answers.run_once(call, count) for _ in range(20)])
    assert sum(not isinstance(result, Replay) for result in results) == 1
    assert tally.counted() == 1


def test_reading_the_key_first_is_not_enough(racing_account_id):
    """The control case: without the unique key, two calls that both found no key both have an effect."""
    both_have_read = threading.Barrier(2, timeout=10)

    def call(name):
        assert recorded_answers.find(keyed(racing_account_id)) is None
        both_have_read.wait()
        with transaction.atomic():
            return count(name)

    assert sorted(race([lambda: call("one"), lambda: call("two")])) == [1, 2]
    assert tally.counted() == 2


def test_a_duplicate_request_that_is_refused_gets_the_first_ones_answer(racing_account_id):
    """Both found no key; the second then waits for the row that the first has locked, and is too late."""
    is_locked = threading.Event()

    def take(attempt):
        if ask(connection, tally.LOCK, tally.HOT)[0][0]:
            raise Rejected("all gone")
        is_locked.set()
        return count(attempt)

    def second():
        assert is_locked.wait(10)
        return recorded_answers.run_once(keyed(racing_account_id), lambda: take("second"))

    results = race(
        [lambda: recorded_answers.run_once(keyed(racing_account_id), lambda: take("first")), second]
    )
    assert results == [1, Replay(answer_with(1), None)]


def test_a_call_whose_reply_to_the_commit_is_lost_has_one_effect_and_is_no_repeat(
    racing_account_id, tmp_path
):
    with losing_reply_to_commit(tmp_path) as is_lost:
        outcome = once(racing_account_id)
        assert is_lost.is_set()
    assert outcome == 1
    assert tally.counted() == 1
    assert once(racing_account_id) == Replay(answer_with(1), None)


def test_a_call_is_replayed_by_its_reference_until_it_is_settled(account_id):
    call = unsettled(account_id)
    assert recorded_answers.run_once(call, count, reference=lambda outcome: REFERENCE) == 1
    assert recorded_answers.run_once(call, count) == Replay(None, REFERENCE)
    assert settled(call, 1) == answer_with(1)
    assert recorded_answers.run_once(call, count) == Replay(answer_with(1), REFERENCE)
    with pytest.raises(IntegrityError):
        recorded_answers.run_once(
            keyed(account_id, "other", answer=lambda outcome: None), lambda: count("two")
        )
    assert tally.entries() == {"one": 1}, "an effect without answer or reference can't be recorded"


def test_the_first_to_settle_wins_for_good(racing_account_id):
    call = unsettled(racing_account_id)
    recorded_answers.run_once(call, count, reference=lambda outcome: REFERENCE)
    answers = race_each(lambda n: settled(call, n), range(16))
    assert len({answer.body for answer in answers}) == 1
    assert recorded_answers.find(call) == Replay(answers[0], REFERENCE)


def test_an_expired_key_that_is_used_many_times_at_once_has_one_effect(racing_account_id):
    once(racing_account_id, "yesterday")
    grow_old()
    results = race([lambda name=f"call-{n}": once(racing_account_id, name) for n in range(20)])
    assert results.count(2) == 1
    assert results.count(Replay(answer_with(2), None)) == 19
    assert tally.counted() == 2


def test_the_sweep_deletes_expired_keys_in_batches_and_none_within_the_retention(
    account_id, settings, monkeypatch
):
    monkeypatch.setattr(recorded_answers, "SWEEP_BATCH", 2)
    for number in range(6):
        once(account_id, f"name-{number}", key=f"key-{number}")
    almost = timedelta(seconds=settings.IDEMPOTENCY_RETENTION_SECONDS - 30)
    IdempotencyKey.objects.update(created_at=timezone.now() - almost)
    assert recorded_answers.delete_expired_keys() == 0
    assert recorded_answers.find(keyed(account_id, "key-0")) == Replay(answer_with(1), None)
    old = [recorded_answers.key_hash(f"key-{number}") for number in range(5)]
    grow_old(key_hash__in=old)
    assert recorded_answers.delete_expired_keys() == 5
    assert IdempotencyKey.objects.get().key_hash == recorded_answers.key_hash("key-5")
    assert recorded_answers.delete_expired_keys() == 0


def test_the_keys_of_a_batch_are_read_as_pairs_by_one_query(racing_account_id):
    account_id = racing_account_id
    other_id = AccountFactory().id
    once(account_id, "mine", key="mine")
    once(other_id, "theirs", key="theirs")
    crossed = [keyed(account_id, "theirs"), keyed(other_id, "mine")]
    calls = [keyed(account_id, "mine"), *crossed, *(keyed(account_id, f"new-{n}") for n in range(253))]
    # MySQL reads a table from its beginning to its end where that costs less: one of fewer rows than these.
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(account_id=other_id, key_hash=f"{n:064}", status=201, created_at=timezone.now())
        for n in range(5_000)
    )
    with CaptureQueriesContext(connection) as captured:
        seen = recorded_answers.read_recorded_keys(calls)
    assert list(seen) == [calls[0].name]
    assert len(captured) == 1
    [step] = servers.explain(captured[0]["sql"])
    assert (step["type"], step["key"]) == ("range", "shop_idempotencykey_one_effect_per_key")


def decide(calls: Sequence[tuple[KeyedCall, str]]) -> list[Any]:
    """Decide a keyed batch: lock the row, read the keys, decide the other calls, record the answers."""
    last = ask(connection, tally.LOCK, tally.HOT)[0][0]
    seen = recorded_answers.read_recorded_keys([call for call, _ in calls])
    effects: dict[tuple[int, str], Effect] = {}
    outcomes: list[Any] = []
    for call, name in calls:
        if call.name in seen:
            outcomes.append(recorded_answers.replay_or_reused(seen[call.name], call))
        elif call.name in effects:
            outcomes.append(effects[call.name].replay_for(call))
        else:
            last += 1
            ask(connection, "INSERT INTO tally_entry VALUES (%s, %s)", name, last)
            effects[call.name] = Effect(call, last)
            outcomes.append(last)
    ask(connection, "UPDATE tally SET value = %s WHERE id = %s", last, tally.HOT)
    recorded_answers.record(list(effects.values()))
    return outcomes


def test_each_key_has_one_effect_in_batches_of_several_processes(racing_account_id):
    """Two batchers act as two processes; both get each key with the same body, and once with another body."""
    batchers = [Batcher(decide), Batcher(decide)]
    calls = [
        (batchers[copy % 2], keyed(racing_account_id, f"key-{number}", body=body), f"{number}-{body}-{copy}")
        for number in range(8)
        for body, copy in [("body", 0), ("body", 1), ("body", 2), ("other", 3)]
    ]
    results = race([partial(batcher.submit, (call, name)) for batcher, call, name in calls])
    for number in range(8):
        answers = results[4 * number : 4 * number + 4]
        assert [kind(answer) for answer in answers] in (["body"] * 3 + ["reused"], ["reused"] * 3 + ["body"])
        positions = {position(answer) for answer in answers if not isinstance(answer, KeyReused)}
        assert len(positions) == 1
    assert tally.counted() == len(tally.entries()) == IdempotencyKey.objects.count() == 8


def kind(result) -> str:
    return "reused" if isinstance(result, KeyReused) else "body"


def position(result) -> bytes:
    answer = result.answer if isinstance(result, Replay) else answer_with(result)
    assert answer is not None
    return answer.body


def test_a_key_that_two_batches_read_as_new_is_decided_by_the_unique_key(racing_account_id):
    """Batchers over different rows share no lock, so both find no key, and one insert is refused."""
    both_have_read = threading.Barrier(2, timeout=10)
    thread_state = threading.local()

    def decide_without_lock(calls):
        [(call, row)] = calls
        seen = recorded_answers.read_recorded_keys([call])
        if not getattr(thread_state, "has_read", False):
            thread_state.has_read = True
            both_have_read.wait()
        if call.name in seen:
            return [recorded_answers.replay_or_reused(seen[call.name], call)]
        ask(connection, "UPDATE tally SET value = value + 1 WHERE id = %s", row)
        recorded_answers.record([Effect(call, row)])
        return [row]

    def submit(row, body):
        batcher = Batcher(decide_without_lock)
        return batcher.submit((keyed(racing_account_id, body=body), row))

    results = race([lambda: submit(tally.HOT, "body"), lambda: submit(tally.OTHER, "other")])
    assert sorted(map(kind, results)) == ["body", "reused"]
    assert ask(connection, "SELECT SUM(value) FROM tally") == [(1,)]
