"""One key, one effect: the recorded answers of keyed calls.

The key's row is written in the transaction of the effect, so a local call is never seen half done
(brandur.org/idempotency-keys: one request, one transaction). The unique constraint on account and key
is the judge of what slipped by. Redis may tell a replay sooner (`shop.keyed_calls`); it decides nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from shop import transactions
from shop.errors import KeyReused
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


def key_hash(key: str) -> str:
    """The name under which a key is kept."""
    return hashlib.sha256(key.encode()).hexdigest()


def seen(calls: Sequence[Keyed]) -> dict[tuple[int, str], Replay | KeyReused]:
    """What is recorded for these calls, by their names; a call that is new has no entry.

    Take the contended locks first: READ COMMITTED then shows what was committed while waiting for them.
    """
    wanted = {call.name: call for call in calls}
    rows = IdempotencyKey.objects.filter(
        account_id__in={call.account_id for call in calls},
        key_hash__in={call.key_hash for call in calls},
        created_at__gt=_oldest_kept(),
    )
    found: dict[tuple[int, str], Replay | KeyReused] = {}
    for row in rows:
        call = wanted.get((row.account_id, row.key_hash))
        if call:
            found[call.name] = _told(row, call)
    return found


def find(call: Keyed) -> Replay | None:
    """What is recorded for this call. Raises `KeyReused` when the key came with another request."""
    known = seen([call]).get(call.name)
    if isinstance(known, KeyReused):
        raise known
    return known


def record(effects: Sequence[Effect]) -> None:
    """Record the effects' answers, in the transaction of the effects. Raises IntegrityError on a repeat."""
    now = timezone.now()
    IdempotencyKey.objects.filter(
        account_id__in={effect.keyed.account_id for effect in effects},
        key_hash__in={effect.keyed.key_hash for effect in effects},
        created_at__lte=_oldest_kept(),
    ).delete()
    IdempotencyKey.objects.bulk_create([_row(effect, now) for effect in effects])


def once(keyed: Keyed, work: Callable[[], T]) -> T | Replay:
    """Do `work` and record its outcome in one transaction, or say what an earlier call recorded.

    Raises what `work` raises (then nothing is recorded) and `KeyReused`.
    """

    def first_time() -> T | Replay:
        known = find(keyed)
        if known:
            return known
        outcome = work()
        record([Effect(keyed, outcome)])
        return outcome

    try:
        return transactions.run(first_time)
    except IntegrityError:
        # Another call with this key was faster; if it was not the key, the error is real.
        known = find(keyed)
        if known is None:
            raise
        return known


def settle(call: Keyed, answer: Answer) -> Answer:
    """Fix the answer of a call whose payment has settled; the first to do so wins, for good."""
    rows = IdempotencyKey.objects.filter(account_id=call.account_id, key_hash=call.key_hash)
    changed = rows.filter(status__isnull=True).update(
        status=answer.status, body=answer.body.decode(), location=answer.location
    )
    if changed:
        return answer
    row = rows.filter(status__isnull=False).first()
    return _answer(row) if row else answer


def sweep() -> int:
    """Delete the keys past the retention, in small bites. Returns how many went."""
    gone = 0
    while True:
        old = list(
            IdempotencyKey.objects.filter(created_at__lte=_oldest_kept()).values_list("pk", flat=True)[
                :SWEEP_BATCH
            ]
        )
        if not old:
            return gone
        gone += IdempotencyKey.objects.filter(pk__in=old).delete()[0]


def _told(row: IdempotencyKey, call: Keyed) -> Replay | KeyReused:
    if row.fingerprint != call.fingerprint:
        return KeyReused("This idempotency key was used for another request.")
    return Replay(None if row.status is None else _answer(row), row.reference)


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
