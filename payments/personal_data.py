"""Personal data of payments: how its rows belong to accounts, and what an erasure does to them."""

from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.personal_data.erasure import PARTS, Part, named
from accounts.personal_data.registry import REGISTRY, Erasure, PersonalData, kept_for_good
from payments import ledger
from payments.models import LedgerAccount, Payment, Transfer, WebhookEvent
from payments.transitions import UNSETTLED

REGISTRY.update(
    {
        "payments.LedgerAccount": kept_for_good("user"),
        "payments.Transfer": kept_for_good(
            "its entries or order",
            rows=lambda id: Transfer.objects.filter(Q(entries__account=id) | Q(order__account=id)).distinct(),
        ),
        "payments.GrantsOfDay": kept_for_good("operator_id"),
        "payments.Entry": kept_for_good("account__user"),
        "payments.Payment": kept_for_good("account", secrets={"token", "action_url"}),
        "payments.Dispute": kept_for_good("payment__account"),
        "payments.WebhookEvent": PersonalData(
            "the charge key of a payment",
            Erasure.KEPT,
            "90 days after it was handled",
            rows=lambda id: WebhookEvent.objects.filter(
                charge_key__in=[*Payment.objects.filter(account=id).values_list("charge_key", flat=True)]
            ),
        ),
        "payments.Reconciliation": "numbers of payments and charges that differ, deleted after 30 days",
    }
)


def _open_rows(account_id: int) -> list[str]:
    unsettled = Q(status__in=UNSETTLED) | Q(refunding_amount__gt=0)
    return named("payment", Payment.objects.filter(unsettled, account_id=account_id), "shown_status")


def _lock_balance(account_id: int) -> int:
    wallet = LedgerAccount.objects.select_for_update().filter(pk=account_id)
    return wallet.values_list("balance_amount", flat=True).first() or 0


PARTS.append(
    Part(
        _open_rows,
        lock_balance=_lock_balance,
        forfeit=lambda account_id, amount, reason: ledger.forfeit(
            user_id=account_id, amount=amount, reason=reason, reference=str(uuid7())
        ),
    )
)
