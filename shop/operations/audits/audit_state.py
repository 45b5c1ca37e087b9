"""The state of the scheduled audit: one auditor at a time, and the progress of a full audit.

It is a row of the database, because Redis decides nothing. An auditor that is killed blocks the next one
until its lease lapses, and a full audit resumes where its progress was saved last.
"""

import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from django.db.models import Q

from shop import clock
from shop.db import transactions
from shop.models import AuditState

ROW = 1
# Longer than the longest check: seven statements, each of which may take `scheduled_audit.STATEMENT_SECONDS`.
# If checks outlast it, the next auditor starts beside this one, and none records anything.
LEASE_SECONDS = 180
RENEW_SECONDS = 10


class LeaseLost(Exception):
    """Another auditor has the lease: this one was paused for too long, and records nothing."""


@dataclass(slots=True)
class Progress:
    """How far a full audit is: the subject and the last key of it, and the laws that it could not check.

    `overflowed` are the laws that were broken in more chunks than a status keeps.
    """

    started_at: str
    subject: str = ""
    after: Any = None
    failed: dict[str, str] = field(default_factory=dict)
    overflowed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Lease:
    """The right to audit, as long as it is renewed."""

    token: str
    renewed: float

    def renew(self) -> None:
        """Extend it when it is time. Raises `LeaseLost`."""
        if time.monotonic() - self.renewed > RENEW_SECONDS:
            self.renewed = time.monotonic()
            if not _lease(Q(lease_token=self.token), self.token):
                raise LeaseLost

    def lock(self) -> AuditState:
        """The state, locked in the caller's transaction. Raises `LeaseLost`."""
        state = AuditState.objects.select_for_update().get(pk=ROW)
        if state.lease_token != self.token:
            raise LeaseLost
        return state


@contextmanager
def leased() -> Iterator[Lease | None]:
    """Hold the lease while the block runs; yields None while another auditor holds it."""
    token, now = secrets.token_hex(16), clock.now()
    AuditState.objects.bulk_create([AuditState(pk=ROW)], ignore_conflicts=True)
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    # Taken before the clock was set back.
    free |= Q(leased_until__gt=now + timedelta(seconds=2 * LEASE_SECONDS))
    if not _lease(free | Q(lease_token=token), token):
        yield None
        return
    try:
        yield Lease(token, time.monotonic())
    finally:
        AuditState.objects.filter(pk=ROW, lease_token=token).update(lease_token="", leased_until=None)


def _lease(condition: Q, token: str) -> bool:
    until = clock.now() + timedelta(seconds=LEASE_SECONDS)
    rows = AuditState.objects.filter(condition, pk=ROW)
    changed = transactions.run_or_savepoint(
        lambda: rows.update(lease_token=token, leased_until=until), transactions.REPEATABLE
    )
    return changed == 1


def read_progress(state: AuditState, *, subjects: Collection[str]) -> Progress | None:
    """The progress of the full audit under way; None if another release began it, with other subjects."""
    kept = state.progress
    if kept is None or kept.keys() != {one.name for one in fields(Progress)}:
        return None
    return Progress(**kept) if kept["subject"] in ("", *subjects) else None
