"""Recorded answers of calls with an idempotency key: one key has one effect.

The key's row is written in the transaction of the effect. The unique constraint on account and key decides if
two calls still race. A crash before the COMMIT leaves no key, and a repeat does the work. After the COMMIT a
repeat finds the answer, or the id of what was started. The answer of that is recorded once it is final.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection
from django.db.models import Max

from foundation import clock
from foundation.db import bulk_sql, key_walks, open_transaction, transactions
from foundation.errors import Invalid, KeyReused, NotAllowed, NotFound, Rejected
from foundation.idempotency.claims import Claim
from foundation.lazy_texts import ENGLISH, mark
from foundation.models import IdempotencyKey

T = TypeVar("T")
SWEEP_BATCH = 1_000
FindUnsettled = Callable[[Collection[UUID], datetime], set[UUID]]
_unsettled_finders: list[FindUnsettled] = []


class Answer(NamedTuple):
    """The response to the caller: recorded with the effect, repeated byte for byte."""

    status: int
    body: bytes
    location: str = ""


class KeyedCall(NamedTuple):
    """A call with a key. `answer` renders its outcome, so that the domain records it without knowing HTTP.

    `answer` returns None for an outcome that has not settled. Then the order or payment that the call started
    provides the answer later, in the caller's `language`. The code that decides the call acquires the
    `claim`. A recorded problem names the request that it was recorded for.
    """

    account_id: int
    key_hash: str
    fingerprint: str
    answer: Callable[[Any], Answer | None]
    claim: Claim | None = None
    language: str = ENGLISH
    request_id: str = ""

    @property
    def name(self) -> tuple[int, str]:
        return self.account_id, self.key_hash


@dataclass(frozen=True, slots=True)
class Replay:
    """The call is a repeat: its recorded answer, or the id of what it started."""

    answer: Answer | None
    reference: UUID | None
    recorded_at: datetime | None = field(default=None, compare=False)


@dataclass(slots=True)
class Effect:
    """What a keyed call did, to be recorded with it; its answer is rendered once for all duplicates."""

    keyed: KeyedCall
    outcome: Any
    reference: UUID | None = None
    answer: Answer | None = field(init=False)
    recorded_at: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.answer = self.keyed.answer(self.outcome)

    def replay_for(self, again: KeyedCall) -> Replay | KeyReused:
        """The result of a second call with the key in the same batch, before this one is recorded."""
        if again.fingerprint != self.keyed.fingerprint:
            return _key_reused_error()
        return Replay(self.answer, self.reference)


KEYS_PER_STATEMENT = 128
"""A packet, 16 MiB by default, takes so many: the answer to an order of 50 lines may have 100 KB."""
KEYS_TABLE = bulk_sql.Table(
    IdempotencyKey,
    ["account_id", "key_hash", "fingerprint", "reference", "status", "body", "location", "created_at"],
)


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def read_recorded_keys(calls: Sequence[KeyedCall]) -> dict[tuple[int, str], IdempotencyKey]:
    """Return the recorded keys of these calls, by name; keys past the retention are deleted on the way.

    Take contended locks first: READ COMMITTED then shows what was committed while waiting for them.
    """
    names = {call.name for call in calls}
    if not names:
        return {}
    # Pairs rather than two lists: for two lists MariaDB tries every combination, and then scans the table. It
    # also scans if a condition is compared with true, which the ORM does with custom conditions.
    cells = bulk_sql.SqlLiterals()
    pairs = ", ".join([f"({cells[account_id]}, {cells[key_hash]})" for account_id, key_hash in names])
    if not connection.features.supports_tuple_lookups:
        pairs = f"VALUES {pairs}"
    rows = bulk_sql.reader(IdempotencyKey).models(f"(account_id, key_hash) IN ({pairs})", cells)
    oldest_kept = _retention_start()
    old = [(row.pk, row.reference) for row in rows if row.created_at <= oldest_kept]
    forgotten = _delete_settled_keys(old) if old else ()
    return {(row.account_id, row.key_hash): row for row in rows if row.pk not in forgotten}


def replay_or_reused(row: IdempotencyKey, again: KeyedCall) -> Replay | KeyReused:
    if row.fingerprint != again.fingerprint:
        return _key_reused_error()
    return Replay(_answer_of_row(row), row.reference, row.created_at)


def find(call: KeyedCall) -> Replay | None:
    """Return what is recorded for this call. Raises `KeyReused` if the key came with another request."""
    [known] = find_all([call])
    if isinstance(known, KeyReused):
        raise known
    return known


def find_all(calls: Sequence[KeyedCall]) -> list[Replay | KeyReused | None]:
    found = read_recorded_keys(calls)
    return [replay_or_reused(found[call.name], call) if call.name in found else None for call in calls]


def record(effects: Sequence[Effect]) -> None:
    """Record answers in the effects' transaction, after `read_recorded_keys`; a duplicate fails at COMMIT."""
    now = clock.now()
    rows = []
    for effect in effects:
        effect.recorded_at = now
        keyed = effect.keyed
        answer = effect.answer
        given = (answer.status, answer.body.decode(), answer.location) if answer else (None, "", "")
        rows.append((keyed.account_id, keyed.key_hash, keyed.fingerprint, effect.reference, *given, now))
    bulk_sql.insert(KEYS_TABLE, rows, at_once=KEYS_PER_STATEMENT)


def run_once(
    keyed: KeyedCall, work: Callable[[], T], *, reference: Callable[[T], UUID | None] = lambda outcome: None
) -> T | Replay:
    """Do `work` and record its outcome in one transaction, or return what an earlier call recorded.

    `reference` returns the id of what the outcome started, if any. An outcome of this call that is found
    recorded, because its COMMIT got no reply, is no `Replay`. Raises what `work` raises, and `KeyReused`.
    """
    attempts: list[Effect] = []

    def first_time() -> T | Replay:
        known = find(keyed)
        if known:
            return _own_outcome(known, attempts)
        outcome = work()
        attempts.append(Effect(keyed, outcome, reference(outcome)))
        record(attempts[-1:])
        return outcome

    try:
        return transactions.run(first_time, transactions.KEYED)
    except (IntegrityError, Invalid, NotAllowed, NotFound, Rejected):
        # A concurrent call with this key may have been faster, and have taken what this one was refused.
        # Without one the error is real.
        known = find(keyed)
        if known is None:
            raise
        return _own_outcome(known, attempts)


def run_repeatable(keyed: KeyedCall, work: Callable[[], T]) -> T | Replay:
    """`run_once` for work with transactions of its own that may be repeated.

    The answer is recorded after the work. If the call dies in between, a repeat does the work again.
    """
    if known := transactions.read(lambda: find(keyed)):
        return known
    done = work()
    return run_once(keyed, lambda: done)


def record_late(effects: Sequence[Effect]) -> list[Replay | KeyReused | None]:
    """Record answers of committed effects. What another call recorded under a key stays, and is returned in
    the effect's place.
    """
    known = find_all([effect.keyed for effect in effects])
    record([effect for effect, found in zip(effects, known, strict=True) if found is None])
    return [
        None if isinstance(found, Replay) and found.recorded_at == effect.recorded_at else found
        for effect, found in zip(effects, known, strict=True)
    ]


def _own_outcome(known: Replay, attempts: Sequence[Effect]) -> Any:
    """The outcome of the attempt of this call that is recorded; the replay if another call was recorded."""
    for effect in attempts:
        # The instant tells them apart: calls that do the same have equal answers.
        if effect.recorded_at == known.recorded_at:
            return effect.outcome
    return known


def record_settled_answers(answers: Sequence[tuple[KeyedCall, Answer]]) -> list[Answer]:
    """Record the answers of calls whose payments have settled; the first answer recorded for a call stays."""
    open_transaction.assert_inside()
    if _record_missing_answers(answers) == len(answers):
        return [answer for _, answer in answers]
    recorded = read_recorded_keys([call for call, _ in answers])
    fixed = {name: _answer_of_row(row) for name, row in recorded.items()}
    return [fixed.get(call.name) or answer for call, answer in answers]


def _record_missing_answers(answers: Sequence[tuple[KeyedCall, Answer]]) -> int:
    """Record the answers that are not recorded yet, in one statement. Returns how many they were."""
    if not answers:
        return 0
    cells = bulk_sql.SqlLiterals()
    status = []
    body = []
    location = []
    which = []
    for call, answer in answers:
        this = f"account_id = {cells[call.account_id]} AND key_hash = {cells[call.key_hash]}"
        status.append(f"WHEN {this} THEN {cells[answer.status]}")
        body.append(f"WHEN {this} THEN {cells[answer.body.decode()]}")
        location.append(f"WHEN {this} THEN {cells[answer.location]}")
        which.append(f"({this})")
    statement = (
        f"UPDATE {KEYS_TABLE.name} SET status = CASE {' '.join(status)} END,"  # noqa: S608 - names written here
        f" body = CASE {' '.join(body)} END, location = CASE {' '.join(location)} END"
        f" WHERE status IS NULL AND ({' OR '.join(which)})"
    )
    return bulk_sql.execute(statement, cells.parameters)


def register_unsettled_finder(find: FindUnsettled) -> None:
    """Register `find(references, at)`: those that are open at `at`, whose keys outlive the retention."""
    _unsettled_finders.append(find)


def delete_expired_keys() -> int:
    """Delete the keys past the retention, in small batches. Returns how many were deleted."""
    gone = 0
    old = IdempotencyKey.objects.filter(created_at__lte=_retention_start())
    # The last of them is the end: else the last page would look at all keys for more.
    up_to_last = old.filter(pk__lte=old.aggregate(last=Max("pk"))["last"] or 0)
    for page in key_walks.pages(up_to_last, "reference", size=SWEEP_BATCH):
        gone += len(transactions.run(partial(_delete_settled_keys, page), transactions.REPEATABLE))
    return gone


def _delete_settled_keys(old: Sequence[tuple[int, UUID | None]]) -> set[int]:
    """Delete those of the keys whose answer has been final for the whole retention; returns their ids.

    Until it is final a repeat must find the key, or it would place a second order.
    """
    references = {reference for _, reference in old if reference}
    unsettled: set[UUID | None] = set()
    for find in _unsettled_finders if references else ():
        unsettled |= find(references, _retention_start())
    forgotten = {pk for pk, reference in old if reference not in unsettled}
    IdempotencyKey.objects.filter(pk__in=forgotten).delete()
    return forgotten


def _key_reused_error() -> KeyReused:
    return KeyReused(mark("This idempotency key was used for another request."))


def _answer_of_row(row: IdempotencyKey) -> Answer | None:
    return None if row.status is None else Answer(row.status, row.body.encode(), row.location)


def _retention_start() -> datetime:
    return clock.now() - timedelta(seconds=settings.IDEMPOTENCY_RETENTION_SECONDS)
