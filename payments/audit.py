"""The audit of law L7, which needs no orders: one set-based query for each check.

Each query sees one moment, so concurrent transfers are never offenders. L9 needs the orders too: `orders`
audits it, by `payments.reconciliation.comparison`.
"""

from typing import Any

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from payments.models import HOLDING, Entry, LedgerAccount, Transfer
from shop.operations.audit_report import OFFENDERS_REPORTED, LawReport, report


def audit() -> list[LawReport]:
    """The three checks of L7."""
    return [
        wallets_are_the_sum_of_their_entries(),
        transfers_sum_to_zero(),
        holding_never_gives_more_than_it_took(),
    ]


def wallets_are_the_sum_of_their_entries() -> LawReport:
    """Each wallet's balance is the sum of its entries, matches the latest entry's, and is never negative."""
    wallets = LedgerAccount.objects.filter(kind=LedgerAccount.Kind.WALLET)
    newest = Entry.objects.filter(account=OuterRef("pk")).order_by("-id")
    wrong = wallets.annotate(
        total=Coalesce(Sum("entries__amount"), 0),
        left=Coalesce(Subquery(newest.values("balance_after_amount")[:1]), 0),
    ).exclude(balance_amount__gte=0, total=F("balance_amount"), left=F("balance_amount"))
    return report("L7", wallets.count(), _offenders("wallet", wrong))


def transfers_sum_to_zero() -> LawReport:
    """Each transfer has two entries or more, which sum to zero."""
    wrong = Transfer.objects.annotate(total=Sum("entries__amount"), parts=Count("entries")).filter(
        Q(parts__lt=2) | ~Q(total=0)
    )
    return report("L7", Transfer.objects.count(), _offenders("transfer", wrong))


def holding_never_gives_more_than_it_took() -> LawReport:
    """Points held for an order leave the account once: released to the wallet or sold, never both."""
    orders = Entry.objects.filter(account_id=HOLDING).values("transfer__order")
    wrong = orders.annotate(held=Sum("amount")).filter(held__lt=0)
    return report(
        "L7", orders.distinct().count(), _offenders("points held for order", wrong, "transfer__order")
    )


def _offenders(name: str, rows: "QuerySet[Any, Any]", id: str = "pk") -> list[str]:
    return [f"{name} {value}" for value in rows.values_list(id, flat=True)[:OFFENDERS_REPORTED]]
