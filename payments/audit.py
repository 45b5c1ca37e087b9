"""The audit of law L7: each query sees one moment, so concurrent transfers are never offenders. L9 needs the
orders too: `orders` audits it, by `payments.reconciliation.comparison`.
"""

from typing import Any

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from payments.models import HOLDING, Entry, LedgerAccount, Transfer
from shop.operations.audits.audit_report import OFFENDERS_REPORTED, LawReport, report
from shop.operations.audits.audit_scope import Rows, Subject, count, within


def audit() -> list[LawReport]:
    """The three checks of L7."""
    return [
        wallets_are_the_sum_of_their_entries(),
        transfers_sum_to_zero(),
        holding_never_gives_more_than_it_took(),
    ]


def wallets_are_the_sum_of_their_entries(wallet_ids: Rows | None = None) -> LawReport:
    """Each wallet's balance is the sum of its entries, matches the latest entry's, and is never negative."""
    wallets = LedgerAccount.objects.filter(within("pk", wallet_ids), kind=LedgerAccount.Kind.WALLET)
    newest = Entry.objects.filter(account=OuterRef("pk")).order_by("-id")
    wrong = wallets.annotate(
        total=Coalesce(Sum("entries__amount"), 0),
        left=Coalesce(Subquery(newest.values("balance_after_amount")[:1]), 0),
    ).exclude(balance_amount__gte=0, total=F("balance_amount"), left=F("balance_amount"))
    return report("L7", count(wallets, wallet_ids), _offenders("wallet", wrong))


def transfers_sum_to_zero(transfer_ids: Rows | None = None) -> LawReport:
    """Each transfer has two entries or more, which sum to zero."""
    transfers = Transfer.objects.filter(within("pk", transfer_ids))
    wrong = transfers.annotate(total=Sum("entries__amount"), parts=Count("entries")).filter(
        Q(parts__lt=2) | ~Q(total=0)
    )
    return report("L7", count(transfers, transfer_ids), _offenders("transfer", wrong))


def holding_never_gives_more_than_it_took(order_ids: Rows | None = None) -> LawReport:
    """Points held for an order leave the account once: released to the wallet or sold, never both."""
    entries = Entry.objects.filter(within("transfer__order", order_ids), account_id=HOLDING)
    orders = entries.values("transfer__order")
    wrong = orders.annotate(held=Sum("amount")).filter(held__lt=0)
    offenders = _offenders("points held for order", wrong, "transfer__order")
    return report("L7", count(orders.distinct(), order_ids), offenders)


SUBJECTS = (
    Subject(
        "wallet",
        LedgerAccount.objects.filter(kind=LedgerAccount.Kind.WALLET).all,
        (("L7", wallets_are_the_sum_of_their_entries),),
        is_counted=True,
    ),
    Subject("transfer", Transfer.objects.all, (("L7", transfers_sum_to_zero),)),
)


def _offenders(name: str, rows: "QuerySet[Any, Any]", id: str = "pk") -> list[str]:
    return [f"{name} {value}" for value in rows.values_list(id, flat=True)[:OFFENDERS_REPORTED]]
