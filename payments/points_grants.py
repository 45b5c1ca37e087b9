"""Points granted by staff, once for each idempotency key, within `GRANT_LIMIT_AMOUNT` at once and
`GRANT_DAY_AMOUNT` in a day of the shop's time zone, never to the own account; above that another approves.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import F
from django.utils.translation import gettext
from uuid_utils.compat import uuid7

from payments import ledger
from payments.models import Entry, GrantsOfDay
from shop import approvals, clock, own_account
from shop.approval_models import Approval
from shop.approvals import Act
from shop.errors import NotAllowed, NotFound
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import KeyedCall, Replay
from shop.lazy_texts import mark as _
from shop.money import format_amount

GRANT, PERMISSION = "points.grant", "payments.add_transfer"
APPROVAL_REQUIRED = "approval_required"


def grant(*, user_id: int, amount: int, reason: str, keyed: KeyedCall) -> Entry | Replay:
    """Grant the user points, and return the wallet's entry; a repeat of the key returns a `Replay`. Durable.

    Raises `NotFound` for a user that is unknown or disabled, `KeyReused`, and `NotAllowed`: `own_account`, or
    `approval_required` above the operator's limits.
    """
    own_account.refuse_own(user_id)
    ledger.open_wallet(user_id)
    reference, operator_id, day = str(uuid7()), own_account.operator_id(), clock.today()
    if operator_id is not None:
        # As a wallet: opened inside the transaction, it may deadlock with a duplicate.
        GrantsOfDay.objects.get_or_create(operator_id=operator_id, day=day)

    def granted() -> Entry:
        _require_active(user_id)
        if operator_id is not None:
            _count_within_limits(operator_id, day, amount)
        return ledger.grant(user_id=user_id, amount=amount, reason=reason, reference=reference)

    return recorded_answers.run_once(keyed, granted)


def ask_to_grant(*, user_id: int, amount: int, reason: str, keyed: KeyedCall) -> Approval | Replay:
    """Ask that another operator approves the grant; a repeat of the key returns a `Replay`. Durable. Raises
    `NotFound`, `KeyReused`, and `NotAllowed` `own_account`.
    """

    def ask() -> Approval:
        _require_active(user_id)
        return approvals.ask(
            kind=GRANT,
            subject=f"wallet {user_id}",
            arguments={"user": user_id, "amount": amount},
            reason=reason,
            account_id=user_id,
        )

    return recorded_answers.run_once(keyed, ask)


def granted_today() -> dict[str, int]:
    """The points that each operator granted today, with an approval or without, by the operator's number."""
    rows = GrantsOfDay.objects.filter(day=clock.today())
    return {str(row.operator_id): row.amount + row.approved_amount for row in rows}


def _require_active(user_id: int) -> None:
    if not User.objects.filter(id=user_id, is_active=True).exists():
        raise NotFound(_("There is no active account {user_id}.", user_id=user_id))


def _count_within_limits(operator_id: int, day: date, amount: int) -> None:
    """Add the grant to those of the operator's day; the row's lock keeps concurrent ones apart."""
    most, of_day = settings.GRANT_LIMIT_AMOUNT, settings.GRANT_DAY_AMOUNT
    today = GrantsOfDay.objects.filter(operator_id=operator_id, day=day)
    if amount <= most and today.filter(amount__lte=of_day - amount).update(amount=F("amount") + amount):
        return
    raise NotAllowed(
        _(
            "You may grant {most} at once and {of_day} in a day: ask for this grant on the account's page in "
            "the admin, where another operator approves it.",
            most=format_amount(most),
            of_day=format_amount(of_day),
        ),
        code=APPROVAL_REQUIRED,
    )


def _prepare(approval: Approval) -> Callable[[], str]:
    user_id, amount = approval.arguments["user"], approval.arguments["amount"]
    ledger.open_wallet(user_id)
    of_day: dict[str, Any] = {"operator_id": approval.asker_id, "day": clock.today()}
    if approval.asker_id is not None:
        GrantsOfDay.objects.get_or_create(**of_day)

    def granted() -> str:
        _require_active(user_id)
        GrantsOfDay.objects.filter(**of_day).update(approved_amount=F("approved_amount") + amount)
        reference = f"approval {approval.pk}"
        entry = ledger.grant(user_id=user_id, amount=amount, reason=approval.reason, reference=reference)
        return f"{amount} points granted; the balance is {entry.balance_after_amount}"

    return granted


approvals.ACTS[GRANT] = Act(
    title=_("Grant points"),
    permission=PERMISSION,
    prepare=_prepare,
    describe=lambda approval: [(gettext("Amount"), format_amount(approval.arguments["amount"]))],
)
