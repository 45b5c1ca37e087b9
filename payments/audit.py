"""The audit of law L7: each query sees one moment, so concurrent transfers are never offenders.

L9 needs the orders too: `orders` audits it, by `payments.reconciliation.comparison`. The scheduled audit
doesn't read the gateway's book again, but looks up the differences that the latest comparisons found.
"""

import time
from collections.abc import Iterable, Iterator

from django.db.models import Count, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from foundation.errors import Unavailable
from foundation.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    NotChecked,
    Subject,
    count,
    offenders_of,
    report,
    within,
)
from payments.gateways.contract import Books
from payments.models import HOLDING, Entry, LedgerAccount, Reconciliation, Transfer
from payments.reconciliation import comparison, reconciling
from payments.reconciliation.reconciling import RESOLVED

RECHECK_SECONDS = 20.0
"""For calls of a gateway that is slow: the audit's lease must outlast them."""


def audit() -> list[LawReport]:
    """The three checks of L7."""
    return [
        wallets_are_the_sum_of_their_entries(),
        transfers_sum_to_zero(),
        holding_never_gives_more_than_it_took(),
    ]


def wallets_are_the_sum_of_their_entries(wallet_ids: Chosen = None) -> LawReport:
    """Each wallet's balance is the sum of its entries, matches the latest entry's, and is never negative."""
    wallets = LedgerAccount.objects.filter(within("pk", wallet_ids), kind=LedgerAccount.Kind.WALLET)
    newest = Entry.objects.filter(account=OuterRef("pk")).order_by("-id")
    wrong = wallets.annotate(
        total=Coalesce(Sum("entries__amount"), 0),
        left=Coalesce(Subquery(newest.values("balance_after_amount")[:1]), 0),
    ).exclude(balance_amount__gte=0, total=F("balance_amount"), left=F("balance_amount"))
    return report("L7", count(wallets, wallet_ids), offenders_of(wrong, kind="wallet"))


def transfers_sum_to_zero(transfer_ids: Chosen = None) -> LawReport:
    """Each transfer has two entries or more, which sum to zero."""
    transfers = Transfer.objects.filter(within("pk", transfer_ids))
    wrong = transfers.annotate(total=Sum("entries__amount"), parts=Count("entries")).filter(
        Q(parts__lt=2) | ~Q(total=0)
    )
    return report("L7", count(transfers, transfer_ids), offenders_of(wrong, kind="transfer"))


def holding_never_gives_more_than_it_took(order_ids: Chosen = None) -> LawReport:
    """Points held for an order leave the account once: released to the wallet or sold, never both."""
    entries = Entry.objects.filter(within("transfer__order", order_ids), account_id=HOLDING)
    orders = entries.values("transfer__order")
    wrong = orders.annotate(held=Sum("amount")).filter(held__lt=0)
    offenders = offenders_of(wrong, "transfer__order", kind="points held for order")
    return report("L7", count(orders.distinct(), order_ids), offenders)


def books_agree() -> LawReport:
    """L9: the latest comparisons found nothing, or what they found is resolved. Offenders are in words.

    At most 100 differences are looked up, for `RECHECK_SECONDS` at most; others count as recorded, and those
    that a comparison did not write down remain until the next one. Raises `NotChecked` when the books were
    not compared lately.
    """
    latest = reconciling.latest_runs()
    run = latest.get("lately") or latest.get("whole")
    last = Reconciliation.objects.exclude(unread="").order_by("-pk").first()
    reason = f": {last.unread}" if last and (run is None or last.pk > run.pk) else ""
    if run is None:
        raise NotChecked(f"the gateway's book was never read to its end{reason}")
    if reconciling.is_old(run):
        raise NotChecked(f"the gateway's book was last read at {run.ended_at:%Y-%m-%d %H:%M} UTC{reason}")
    runs = latest.values()
    left = [finding for run in runs for finding in run.findings if finding["done"] not in RESOLVED]
    known = [*{(one["key"], reconciling.books_of(one)): one["cause"] for one in left}.items()]
    offenders = [*_recheck(known[:OFFENDERS_REPORTED])]
    if len(known) > OFFENDERS_REPORTED:
        offenders.append(f"{len(known) - OFFENDERS_REPORTED} more differences: see the reconciliation")
    unwritten = max(run.differences - len(run.findings) for run in runs)
    if unwritten > 0:
        text = "differences that are not written down: resolve the others, and compare again"
        offenders.append(f"{unwritten} {text}")
    return report("L9", sum(run.checked for run in runs), offenders)


def _recheck(known: Iterable[tuple[tuple[str, Books], str]]) -> Iterator[str]:
    """The differences that remain, in words; as recorded once the gateway fails or the time is over."""
    stop_at = time.monotonic() + RECHECK_SECONDS
    for (key, books), cause in known:
        if time.monotonic() < stop_at:
            try:
                yield from map(str, comparison.recheck([key], books))
                continue
            except Unavailable:
                stop_at = float("-inf")
        yield f"{key}: {cause}"


SUBJECTS = (
    Subject(
        "wallet",
        LedgerAccount.objects.filter(kind=LedgerAccount.Kind.WALLET).all,
        (("L7", wallets_are_the_sum_of_their_entries),),
        is_counted=True,
    ),
    Subject("transfer", Transfer.objects.all, (("L7", transfers_sum_to_zero),)),
)
