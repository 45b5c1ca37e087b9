"""Replaces a person's names and addresses in the journal by a pseudonym: the one change of its lines
(docs/adr/045). What happened, when, and by which account stays.
"""

from collections.abc import Collection
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Q

from foundation import journal
from foundation.db import key_walks, transactions
from foundation.models import JournalLine
from foundation.values import GivenValues, Values

LINES_PER_TRANSACTION = 500
PERSONAL = frozenset({"username", "email", "first_name", "last_name", "address"})
"""The keys of `before` and `after` whose values identify a person."""
METADATA = "metadata"
"""What programs keep with an order, who the customer is perhaps."""


def replace_names(
    *, account_id: int, subjects: Collection[str], order_ids: Collection[UUID], pseudonym: str
) -> int:
    """Replace them in the lines that the account caused, and in those about `subjects`: the account's, and
    what it asked for or approved; and the metadata in those of its orders that have any. Returns how many
    changed; a repeat goes on with the rest.
    """
    caused = (
        JournalLine.objects.filter(actor_id=account_id)
        .exclude(actor_name__in=["", pseudonym])
        .exclude(actor_name__startswith=journal.KEY_NAME)
    )
    changed = 0
    for page in key_walks.pages(caused, size=LINES_PER_TRANSACTION):
        update = partial(_update_names, [id for (id,) in page], pseudonym)
        changed += transactions.run(update, transactions.REPEATABLE)
    for about in (Q(subject__in=subjects), Q(order_id__in=order_ids)):
        for page in key_walks.pages(JournalLine.objects.filter(about), size=LINES_PER_TRANSACTION):
            update = partial(_update_values, [id for (id,) in page], account_id, pseudonym)
            changed += transactions.run(update, transactions.REPEATABLE)
    return changed


def _update_names(ids: list[int], pseudonym: str) -> int:
    return JournalLine.objects.filter(pk__in=ids).update(actor_name=pseudonym)


def _update_values(ids: list[int], account_id: int, pseudonym: str) -> int:
    changed = 0
    for line in JournalLine.objects.filter(pk__in=ids):
        columns: Values = {
            name: replaced
            for name in ("before", "after")
            if (values := getattr(line, name))
            and (replaced := _without_names(values, account_id, pseudonym)) != values
        }
        # A sign-in's detail repeats the address.
        address = (line.after or {}).get("address")
        if address and address != pseudonym and line.detail == f"from {address}":
            columns["detail"] = f"from {pseudonym}"
        if columns:
            changed += JournalLine.objects.filter(pk=line.pk).update(**columns)
    return changed


def _without_names(values: GivenValues, account_id: int, pseudonym: str) -> Values:
    """The values without the names; a part that has a number and a name is about that account alone."""
    if values.get("id", account_id) != account_id:
        return dict(values)
    replaced = dict[str, Any]()
    for key, value in values.items():
        if key == METADATA:
            replaced[key] = {}
        elif isinstance(value, dict):
            replaced[key] = _without_names(value, account_id, pseudonym)
        else:
            replaced[key] = pseudonym if key in PERSONAL and value else value
    return replaced
