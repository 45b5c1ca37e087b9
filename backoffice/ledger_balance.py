"""The balance of one of the shop's own accounts in the ledger: the sum of its entries, read in parts.

Such an account caches no balance, and takes part in every transfer: its entries grow without end.
"""

from functools import partial
from typing import Any

from django.db.models import Count, Max, Sum
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from backoffice import windows
from payments.models import Entry, LedgerAccount
from shop.admin_base.actions import require_permission
from shop.money import format_amount

ENTRIES_AT_ONCE = 50_000
"""Entries that one statement sums."""
KINDS = [kind for kind in LedgerAccount.Kind.values if kind != LedgerAccount.Kind.WALLET]
"""Of the shop's own accounts, of which each is the only one of its kind."""


@require_GET
def ledger_balance(request: HttpRequest, kind: str) -> HttpResponseBase:
    """The balance, for the page of the account. Raises `Http404` and `PermissionDenied`."""
    require_permission(request, "payments.view_ledgeraccount")
    # The shop's own accounts are the few with ids below zero, which the key finds.
    id = LedgerAccount.objects.filter(pk__lt=0, kind=kind).values_list("pk", flat=True).first()
    if id is None:
        raise Http404
    return windows.respond(request, "backoffice/ledger_balance.html", partial(_read_balance, id))


def _read_balance(account_id: int) -> dict[str, Any]:
    """Sum the entries in the order of their ids."""
    entries, amount, last, is_end = 0, 0, 0, False
    while not is_end:
        summed = windows.read_elsewhere(partial(_sum_after, account_id, last))
        entries += summed["entries"]
        amount += summed["amount"] or 0
        last, is_end = summed["last"], summed["entries"] < ENTRIES_AT_ONCE
    return {"amount": format_amount(amount), "entries": f"{entries:,}"}


def _sum_after(account_id: int, last: int, database: str) -> dict[str, Any]:
    """The number, the sum and the largest id of the next entries after the one with the id `last`."""
    entries = Entry.objects.using(database).filter(account_id=account_id, pk__gt=last).order_by("pk")
    return entries[:ENTRIES_AT_ONCE].aggregate(entries=Count("pk"), amount=Sum("amount"), last=Max("pk"))
