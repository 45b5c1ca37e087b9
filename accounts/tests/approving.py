"""Operators who ask and approve, without pages."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User

from accounts.operating import approvals
from foundation import journal
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import Answer, KeyedCall, key_hash
from foundation.journal import Actor, ActorContext

WHY = "I have looked, too."


def keyed(account: User, key: str) -> KeyedCall:
    return KeyedCall(account.pk, key_hash(key), "fingerprint", lambda outcome: Answer(200, b"{}"))


def as_operator(account: User, work: Callable[[], Any]):
    with journal.acting(ActorContext(actor=Actor.STAFF, id=account.pk, name=account.username)):
        try:
            return work()
        except FirstcomeError as error:
            return error.code


def approve(by: User, approval):
    return as_operator(by, lambda: approvals.approve(approval_id=approval.pk, reason=WHY))


def refuse(by: User, approval):
    return as_operator(by, lambda: approvals.refuse(approval_id=approval.pk, reason="No."))
