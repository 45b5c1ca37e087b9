"""Points granted by staff, once for each idempotency key, within `GRANT_LIMIT_AMOUNT` at once and
`GRANT_DAY_AMOUNT` in a day of the shop's time zone, never to the own account; above that another approves.
"""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import F, QuerySet
from django.utils.translation import gettext
from uuid_utils.compat import uuid7

from accounts.operating import approvals, own_account
from accounts.operating.approvals import Act
from foundation import clock
from foundation.approval_models import Approval
from foundation.errors import NotAllowed, NotFound
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.lazy_texts import mark
from foundation.money import format_amount
from foundation.values import Values
from payments import ledger
from payments.models import Entry, GrantsOfDay

GRANT = "points.grant"
PERMISSION = "payments.add_transfer"
APPROVAL_REQUIRED = "approval_required"


def grant(*, user_id: int, amount: int, reason: str, keyed: KeyedCall) -> Entry | Replay:
    """Grant the user points, and return the wallet's entry; a repeat of the key returns a `Replay`. Durable.

    Raises `NotFound` for a user that is unknown or disabled, `KeyReused`, and `NotAllowed`: `own_account`, or
    `approval_required` above the operator's limits.
    """
    own_account.refuse_own(user_id)
    reference = str(uuid7())
    granted = _grant(user_id, amount, reason, reference, operator_id=own_account.operator_id())
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
        raise NotFound(mark("There is no active account {user_id}.", user_id=user_id))


def _grant(
    user_id: int,
    amount: int,
    reason: str,
    reference: str,
    *,
    operator_id: int | None,
    is_approved: bool = False,
) -> Callable[[], Entry]:
    """What grants the points in the caller's transaction, before which it is called."""
    # Opened inside the transaction, a row may deadlock with a duplicate.
    ledger.open_wallet(user_id)
    of_day: Values = {"operator_id": operator_id, "day": clock.today()}
    today = GrantsOfDay.objects.filter(**of_day)
    if operator_id is not None:
        GrantsOfDay.objects.get_or_create(**of_day)

    def granted() -> Entry:
        _require_active(user_id)
        if is_approved:
            today.update(approved_amount=F("approved_amount") + amount)
        elif operator_id is not None:
            _count_within_limits(today, amount)
        return ledger.grant(user_id=user_id, amount=amount, reason=reason, reference=reference)

    return granted


def _count_within_limits(today: "QuerySet[GrantsOfDay]", amount: int) -> None:
    """Add the grant to those of the operator's day; the row's lock keeps concurrent ones apart."""
    most = settings.GRANT_LIMIT_AMOUNT
    of_day = settings.GRANT_DAY_AMOUNT
    if amount <= most and today.filter(amount__lte=of_day - amount).update(amount=F("amount") + amount):
        return
    raise NotAllowed(
        mark(
            "You may grant {most} at once and {of_day} in a day: ask for this grant on the account's page in "
            "the admin, where another operator approves it.",
            most=format_amount(most),
            of_day=format_amount(of_day),
        ),
        code=APPROVAL_REQUIRED,
    )


def _prepare(approval: Approval) -> Callable[[], str]:
    asked = approval.arguments
    granted = _grant(
        asked["user"],
        asked["amount"],
        approval.reason,
        f"approval {approval.pk}",
        operator_id=approval.asker_id,
        is_approved=True,
    )
    return lambda: f"{asked['amount']} points granted; the balance is {granted().balance_after_amount}"


approvals.ACTS[GRANT] = Act(
    title=mark("Grant points"),
    permission=PERMISSION,
    prepare=_prepare,
    describe=lambda approval: [(gettext("Amount"), format_amount(approval.arguments["amount"]))],
)
