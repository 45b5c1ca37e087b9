"""One key, one effect: the recorded answers of keyed calls.

The key's row is written in the transaction of the effect, so a local call is never seen half done
(brandur.org/idempotency-keys: one request, one transaction). The unique constraint on account and key
is the judge of what slipped by. No answer is cached in Redis: a batch reads all its keys in one query, so
a cache would cost each first call a round trip to save a replay less than one.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.db.models.fields.tuple_lookups import Tuple, TupleIn
from django.utils import timezone

from shop import transactions
from shop.errors import Invalid, KeyReused, NotFound, Rejected
from shop.models import IdempotencyKey

T = TypeVar("T")
SWEEP_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller is told: recorded with the effect, repeated to the byte."""

    status: int
    body: bytes
    location: str = ""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A call with a key. `answer` renders its outcome; the domain records it without knowing HTTP.

    `answer` gives None for an outcome that has not settled: then `reference`, the order or payment that
    the call started, tells the answer later.
    """

    account_id: int
    key_hash: str
    fingerprint: str
    answer: Callable[[Any], Answer | None]

    @property
    def name(self) -> tuple[int, str]:
        return self.account_id, self.key_hash


@dataclass(frozen=True, slots=True)
class Replay:
    """The call came before. Either its recorded answer, or the id of what it started."""

    answer: Answer | None
    reference: UUID | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a keyed call did, to be recorded with it."""

    keyed: Keyed
    outcome: Any
    reference: UUID | None = None

    def told(self, again: Keyed) -> Replay | KeyReused:
        """What a second call with the key is told, before this one is even written."""
        if again.fingerprint != self.keyed.fingerprint:
            return _reused()
        return Replay(self.keyed.answer(self.outcome), self.reference)


def key_hash(key: str) -> str:
    """The name under which a key is kept."""
    return hashlib.sha256(key.encode()).hexdigest()


def seen(calls: Sequence[Keyed]) -> dict[tuple[int, str], IdempotencyKey]:
    """The keys of these calls that are recorded, by name; ask `told` what to answer to which call.

    Take the contended locks first: READ COMMITTED then shows what was committed while waiting for them.
    What is past the retention is forgotten on the way, so that its key is free again.
    """
    # Pairs rather than two lists: of two lists MariaDB takes every combination, and then scans instead.
    pairs = list({call.name for call in calls})
    rows = IdempotencyKey.objects.filter(TupleIn(Tuple("account_id", "key_hash"), pairs))
    kept, forgotten, oldest_kept = {}, [], _oldest_kept()
    for row in rows:
        if row.created_at > oldest_kept:
            kept[row.account_id, row.key_hash] = row
        else:
            forgotten.append(row.pk)
    if forgotten:
        IdempotencyKey.objects.filter(pk__in=forgotten).delete()
    return kept


def told(row: IdempotencyKey, again: Keyed) -> Replay | KeyReused:
    """What a call with a recorded key is told."""
    if row.fingerprint != again.fingerprint:
        return _reused()
    return Replay(None if row.status is None else _answer(row), row.reference)


def find(call: Keyed) -> Replay | None:
    """What is recorded for this call. Raises `KeyReused` when the key came with another request."""
    row = seen([call]).get(call.name)
    if row is None:
        return None
    known = told(row, call)
    if isinstance(known, KeyReused):
        raise known
    return known


def record(effects: Sequence[Effect]) -> None:
    """Record the effects' answers, in their transaction, after `seen`. Raises IntegrityError on a repeat."""
    now = timezone.now()
    IdempotencyKey.objects.bulk_create([_row(effect, now) for effect in effects])


def once(
    keyed: Keyed, work: Callable[[], T], *, reference: Callable[[T], UUID | None] = lambda outcome: None
) -> T | Replay:
    """Do `work` and record its outcome in one transaction, or say what an earlier call recorded.

    `reference` names the order or payment that the outcome started, if it did. Raises what `work` raises
    (then nothing is recorded) and `KeyReused`.
    """

    def first_time() -> T | Replay:
        known = find(keyed)
        if known:
            return known
        outcome = work()
        record([Effect(keyed, outcome, reference(outcome))])
        return outcome

    try:
        return transactions.run(first_time)
    except (IntegrityError, Invalid, NotFound, Rejected):
        # Another call with this key was faster, and perhaps took what this one was refused; if there was
        # none, the error is real.
        known = find(keyed)
        if known is None:
            raise
        return known


def settle(call: Keyed, answer: Answer) -> Answer:
    """Fix the answer of a call whose payment has settled; the first to do so wins, for good."""
    rows = IdempotencyKey.objects.filter(account_id=call.account_id, key_hash=call.key_hash)
    values = {"status": answer.status, "body": answer.body.decode(), "location": answer.location}
    if transactions.run(lambda: rows.filter(status__isnull=True).update(**values)):
        return answer
    row = rows.filter(status__isnull=False).first()
    return _answer(row) if row else answer


def sweep() -> int:
    """Delete the keys past the retention, in small bites. Returns how many went."""
    old = IdempotencyKey.objects.filter(created_at__lte=_oldest_kept()).values_list("pk", flat=True)
    gone = 0
    while bite := list(old[:SWEEP_BATCH]):
        transactions.run(IdempotencyKey.objects.filter(pk__in=bite).delete)
        gone += len(bite)
    return gone


def _reused() -> KeyReused:
    return KeyReused("This idempotency key was used for another request.")


def _answer(row: IdempotencyKey) -> Answer:
    assert row.status is not None
    return Answer(row.status, row.body.encode(), row.location)


def _row(effect: Effect, now: Any) -> IdempotencyKey:
    answer = effect.keyed.answer(effect.outcome)
    return IdempotencyKey(
        account_id=effect.keyed.account_id,
        key_hash=effect.keyed.key_hash,
        fingerprint=effect.keyed.fingerprint,
        reference=effect.reference,
        status=answer.status if answer else None,
        body=answer.body.decode() if answer else "",
        location=answer.location if answer else "",
        created_at=now,
    )


def _oldest_kept() -> Any:
    return timezone.now() - timedelta(seconds=settings.IDEMPOTENCY_RETENTION_SECONDS)
