"""The erasure of an account: its row stays, without a name, and all that is kept names it by its number.

`start` disables the account, and `erase` replaces and deletes, once no process can remember any more that the
account was enabled. Both may be interrupted at any statement and repeated.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet

from accounts import accounts
from accounts.personal_data import registry
from accounts.tokens import sign_outs
from foundation import clock, pseudonyms
from foundation.approval_models import Approval
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.lazy_texts import mark
from foundation.models import JournalLine

STARTED = "erasure_started"
ERASED = "erased"
# A process remembers for four seconds that an account is enabled. A request that it accepted in the last of
# them reads its body, waits for its batch, and repeats a transaction: all of that ends long before this.
SETTLING = timedelta(seconds=30)
OPEN_NAMED = 10
"""Open rows of each kind, at most: a refusal is read by a person."""


class Part(NamedTuple):
    """What the models of an app have to do with an erasure. Apps add theirs to `PARTS` in their `ready`."""

    open_rows: Callable[[int], Iterable[str]]
    lock_balance: Callable[[int], int] = lambda account_id: 0
    forfeit: Callable[[int, int, str], object] = lambda account_id, amount, reason: None
    with_metadata: Callable[[int], Collection[UUID]] = lambda account_id: ()
    erase_metadata: Callable[[int], object] = lambda account_id: None


PARTS: list[Part] = []


class Erased(NamedTuple):
    """What an erasure did; `is_new` is false if the account was erased before, and nothing was left to do."""

    is_new: bool
    forfeited_amount: int = 0


def named(kind: str, rows: "QuerySet[Any]", status: str = "") -> list[str]:
    """The first of these open rows by kind, id and status, as a refusal names them."""
    return [
        f"{kind} {row.pk}" + (f" ({getattr(row, status)})" if status else "") for row in rows[:OPEN_NAMED]
    ]


def pseudonym(account_id: int) -> str:
    """The username of the erased account."""
    return f"{accounts.ERASED_PREFIX}{account_id}"


def is_erased(account: User) -> bool:
    return account.username == pseudonym(account.pk) and not account.is_active


def start(*, account_id: int, reason: str, forfeit_balance: bool = False) -> datetime:
    """Disable the account, and return from when on it may be erased. Durable when it returns. Raises
    `NotFound`, and `Rejected` `account_has_open_work` before anything is changed.
    """

    def started() -> datetime:
        account = accounts.lock(account_id)
        if is_erased(account):
            return clock.now()
        _require_nothing_open(account_id, forfeit_balance)
        since = _started_at(account)
        if since is None:
            accounts.disable(account_ids=[account_id], reason=reason)
            accounts.note_change(STARTED, account_id, after={}, detail=reason)
        return (since or clock.now()) + SETTLING

    return transactions.run_or_savepoint(started, transactions.ONCE)


def erase(*, account_id: int, reason: str, forfeit_balance: bool = False) -> Erased:
    """Erase the account, whose erasure was started. Durable when it returns; a repeat changes nothing. Raises
    `NotFound`, and `Rejected` as `start` does or `account_not_settled`; then nothing is changed.
    """
    forfeited = transactions.run_or_savepoint(
        lambda: _erase_rows(account_id, reason, forfeit_balance), transactions.ONCE
    )
    # Also where the row was erased before: that call may have been interrupted here.
    subjects = [accounts.journal_subject(account_id)]
    for approval in Approval.objects.filter(Q(asker_id=account_id) | Q(decider_id=account_id)):
        subjects += [f"approval {approval.pk}", approval.subject]
    order_ids = [id for part in PARTS for id in part.with_metadata(account_id)]
    lines = pseudonyms.replace_names(
        account_id=account_id, subjects=subjects, order_ids=order_ids, pseudonym=pseudonym(account_id)
    )
    for part in PARTS:
        part.erase_metadata(account_id)
    return Erased(is_new=forfeited is not None or bool(lines), forfeited_amount=forfeited or 0)


def past_erasures() -> list[dict[str, Any]]:
    """All erasures by the journal, the oldest first: after a restore from a backup they are repeated."""
    lines = JournalLine.objects.filter(what=f"account.{ERASED}").order_by("id")
    return [
        {"account": int(line.subject.split()[-1]), "at": line.at, "reason": line.detail} for line in lines
    ]


def _erase_rows(account_id: int, reason: str, forfeit_balance: bool) -> int | None:
    """All but the journal, in one transaction. Returns the forfeited points; None if it was erased before.

    The account's row is locked first: orders and coupons that are inserted lock it in shared mode for their
    foreign keys, so they have committed, and are found, or come later, when no process accepts the account.
    """
    account = accounts.lock(account_id)
    if is_erased(account):
        return None
    since = _started_at(account)
    if since is None or clock.now() < since + SETTLING:
        seconds = int(SETTLING.total_seconds())
        text = mark("The account is erased once it has been disabled for {seconds} seconds.", seconds=seconds)
        raise Rejected(text, code="account_not_settled")
    balance = _require_nothing_open(account_id, forfeit_balance)
    if balance:
        for part in PARTS:
            part.forfeit(account_id, balance, reason)
    sign_outs.sign_out_everywhere(account_id=account_id, reason=reason)
    _delete_rows(account_id)
    _replace_names(account)
    after = {"pseudonym": pseudonym(account_id), "forfeited_amount": balance}
    accounts.note_change(ERASED, account_id, after=after, detail=reason)
    return balance


def _started_at(account: User) -> datetime | None:
    """When the erasure was started; None if it was not, or the account was enabled since."""
    if account.is_active:
        return None
    subject = accounts.journal_subject(account.pk)
    lines = JournalLine.objects.filter(subject=subject, what__in=[f"account.{STARTED}", "account.changed"])
    for line in lines.order_by("-id").iterator():
        if line.what == f"account.{STARTED}":
            return line.at
        if (line.after or {}).get("is_active"):
            return None
    return None


def _require_nothing_open(account_id: int, forfeit_balance: bool) -> int:
    """The wallet's balance, locked, if nothing is open and the balance is 0 or forfeited."""
    found = [one for part in PARTS for one in part.open_rows(account_id)]
    balance = sum(part.lock_balance(account_id) for part in PARTS)
    if balance and not forfeit_balance:
        found.append(f"wallet {account_id} ({balance} points)")
    if found:
        text = mark("Nothing was erased, for this is open: {open}.", open=", ".join(found))
        raise Rejected(text, code="account_has_open_work", open=found)
    return balance


def _delete_rows(account_id: int) -> None:
    """Delete what the registry says is deleted. The journal names it by its numbers."""
    for label, entry in registry.personal_data().items():
        if entry.erasure is registry.Erasure.DELETED:
            registry.rows_of(label, account_id).delete()


def _replace_names(account: User) -> None:
    name = pseudonym(account.pk)
    User.objects.filter(pk=account.pk).update(
        username=name,
        email="",
        first_name="",
        last_name="",
        password=make_password(None),
        last_login=None,
        is_active=False,
        is_staff=False,
        is_superuser=False,
    )
    Approval.objects.filter(asker_id=account.pk).update(asker_name=name)
    Approval.objects.filter(decider_id=account.pk).update(decider_name=name)
    about = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(User))
    about.filter(object_id=str(account.pk)).update(object_repr=name)
