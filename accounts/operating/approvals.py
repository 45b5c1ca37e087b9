"""Acts that need two operators: one asks, another approves, and the act is done in that transaction, once.

An app registers the acts that may be asked for in `ACTS`. The approval's row is locked first of all rows.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from django.contrib.auth.models import User

from accounts.operating import own_account
from foundation import clock, journal
from foundation.approval_models import Approval
from foundation.db import open_transaction, transactions
from foundation.db.rows import save_changes
from foundation.errors import NeedsApproval, NotAllowed, Rejected, required
from foundation.lazy_texts import Text, mark
from foundation.values import GivenValues

DECIDE = "shop.change_approval"
Status = Approval.Status
PERSONS = ("asked_by", "approved_by")
"""The operators that a line of the journal names besides the one who acted."""
Facts = Sequence[tuple[str, str]]
"""Names and values, as pages show them."""


class Act(NamedTuple):
    """An act that may be asked for by operators with `permission`, which the asker must still have then.

    `prepare` is called outside any transaction. What it returns does the act in the transaction of the
    approval and says what was done, in English. `describe` has what the page shows of the arguments.
    """

    title: Text
    permission: str
    prepare: Callable[[Approval], Callable[[], str]]
    describe: Callable[[Approval], Facts]


ACTS: dict[str, Act] = {}
"""Every act by its name."""


def title(approval: Approval) -> Text:
    """The title of the act that was asked for, which another release may have registered."""
    act = ACTS.get(approval.kind)
    return act.title if act else mark("{act} (of another release)", act=approval.kind)


def describe(approval: Approval) -> Facts:
    """What pages show of the act's arguments."""
    act = ACTS.get(approval.kind)
    return act.describe(approval) if act else shown_arguments(approval)


def shown_arguments(approval: Approval) -> Facts:
    """The names and values of an act's arguments, as they are."""
    return [(name, str(value)) for name, value in approval.arguments.items()]


class ApprovalRequired(NeedsApproval):
    """One operator may not give a row these terms alone; `ask` asks for it, once while it waits. Durable."""

    code = "approval_required"

    def __init__(self, detail: Text, *, kind: str, subject: str, terms: GivenValues) -> None:
        super().__init__(detail)
        arguments = orjson.loads(orjson.dumps(terms))
        self.act: dict[str, Any] = {"kind": kind, "subject": subject, "arguments": arguments}

    def ask(self, reason: str) -> None:
        transactions.run(lambda: waiting(**self.act) or ask(**self.act, reason=reason), transactions.ONCE)


def is_bound() -> bool:
    """Whether bounds of one operator count: in requests, and neither for commands nor for approved terms."""
    return bool(journal.current_actor().request_id)


def register_terms(kind: str, *, title: Text, permission: str, write: Callable[..., object]) -> None:
    """Have `write` called with the terms of an `ApprovalRequired`, and a reason, once they are approved.

    In the journal the change is the asker's.
    """

    def prepare(approval: Approval) -> Callable[[], str]:
        def do() -> str:
            terms = {
                name: datetime.fromisoformat(value) if value and name.endswith("_at") else value
                for name, value in approval.arguments.items()
            }
            asker = journal.ActorContext(journal.Actor.STAFF, approval.asker_id, approval.asker_name)
            with journal.acting(asker):
                return str(write(**terms, reason=approval.reason))

        return do

    ACTS[kind] = Act(title, permission, prepare, shown_arguments)


def waiting(*, kind: str, subject: str, arguments: GivenValues) -> Approval | None:
    """What the current operator has asked for already, and waits: for an act that is the same each time."""
    by = journal.current_actor()
    asked = Approval.objects.filter(kind=kind, subject=subject, status=Status.WAITING, asker_id=by.id)
    return next((one for one in asked if one.arguments == arguments), None)


def ask(
    *, kind: str, subject: str, arguments: GivenValues, reason: str, account_id: int | None = None
) -> Approval:
    """Record that the current operator asks for this act, beside what is asked for already.

    Must be called inside a transaction. `account_id` is the account that benefits. Raises `NotAllowed`
    `own_account`.
    """
    open_transaction.assert_inside()
    own_account.refuse_own(account_id)
    by = journal.current_actor()
    approval = Approval.objects.create(
        kind=kind,
        subject=subject,
        arguments=dict(arguments),
        account_id=account_id,
        asker_id=by.id,
        asker_name=by.name or getattr(User.objects.filter(pk=by.id or 0).first(), "username", ""),
        reason=reason,
        asked_at=clock.now(),
    )
    _note(approval, "approval.asked", reason)
    return approval


def approve(*, approval_id: int, reason: str) -> Approval:
    """Do the act that was asked for, as the current operator; durable when it returns.

    Raises `NotFound`; `Rejected` `approval_of_another_release`, `approval_decided`, `own_approval` for its
    asker, `asker_not_allowed` if the asker has lost the right; `NotAllowed` `own_account`; and what the act
    raises. Then nothing is done.
    """
    # What is refused anyway asks no other system.
    approval = transactions.read(lambda: _read_approvable(approval_id))
    do = ACTS[approval.kind].prepare(approval)
    return transactions.run(
        lambda: _decide(_read_approvable(approval_id, is_locked=True), Status.APPROVED, reason, outcome=do()),
        transactions.ONCE,
    )


def refuse(*, approval_id: int, reason: str) -> Approval:
    """Refuse what was asked for; its asker may withdraw it so.

    Raises `NotFound`, and `Rejected` `approval_decided`.
    """
    return transactions.run(
        lambda: _decide(_read_waiting(approval_id, is_locked=True), Status.REFUSED, reason), transactions.ONCE
    )


def persons(approval: Approval) -> dict[str, dict[str, Any]]:
    """Both operators, for the lines of the journal: the names are replaced where an account is erased."""
    by = journal.current_actor()
    return {
        "asked_by": {"id": approval.asker_id, "username": approval.asker_name},
        "approved_by": {"id": by.id, "username": by.name},
    }


def _read_waiting(approval_id: int, *, is_locked: bool = False) -> Approval:
    rows = Approval.objects.select_for_update() if is_locked else Approval.objects
    approval = required(
        rows.filter(pk=approval_id).first(), mark("There is no approval {id}.", id=approval_id)
    )
    if approval.status != Status.WAITING:
        raise Rejected(
            mark("It is {status} already.", status=approval.get_status_display()), code="approval_decided"
        )
    return approval


def _read_approvable(approval_id: int, *, is_locked: bool = False) -> Approval:
    approval = _read_waiting(approval_id, is_locked=is_locked)
    by = journal.current_actor()
    if by.id is None:
        raise NotAllowed(mark("Only an operator who is signed in approves."))
    # Who asked by a command has no account there, but may have one of the same name here.
    if by.id == approval.asker_id or (approval.asker_id is None and by.name == approval.asker_name):
        raise Rejected(
            mark("You have asked for it yourself: another operator has to approve it."), code="own_approval"
        )
    if approval.kind not in ACTS:
        text = mark("Another release knows what this is: approve it there.")
        raise Rejected(text, code="approval_of_another_release")
    own_account.refuse_own(approval.account_id)
    if approval.asker_id is not None:
        asker = User.objects.filter(pk=approval.asker_id, is_active=True, is_staff=True).first()
        if asker is None or not asker.has_perm(ACTS[approval.kind].permission):
            raise Rejected(
                mark(
                    "{name}, who asked for it, may not do that any more: refuse it.", name=approval.asker_name
                ),
                code="asker_not_allowed",
            )
    return approval


def _decide(approval: Approval, status: Status, answer: str, *, outcome: str = "") -> Approval:
    by = journal.current_actor()
    save_changes(
        approval,
        status=status,
        answer=answer,
        decided_at=clock.now(),
        decider_id=by.id,
        decider_name=by.name,
        outcome=outcome[:255],
    )
    _note(approval, f"approval.{status.value}", answer)
    return approval


def _note(approval: Approval, what: str, detail: str) -> None:
    both = persons(approval)
    if what != "approval.approved":
        del both["approved_by"]
    after = {"act": approval.kind, "of": approval.subject, "arguments": approval.arguments} | both
    journal.note(
        what=what,
        subject=f"approval {approval.pk}",
        after=after | ({"outcome": approval.outcome} if approval.outcome else {}),
        detail=detail,
        is_internal=True,
    )
