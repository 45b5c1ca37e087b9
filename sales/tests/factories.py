"""Sales and entries for tests, made by the domain as in production."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib.auth.models import User

from foundation.db import transactions
from foundation.tests.factories import AccountFactory
from foundation.tests.instants import from_now
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales import terms
from sales.models import Sale, SaleEntry
from sales.waiting_room import advancing, joining
from sales.waiting_room.entries import Entry, JoinRequest

JOINED_AT_ONCE = 500


def create_sale(*products: Product, opens_in=-1, closes_in: float = 3_600, **given) -> Sale:
    """A sale with a waiting room that has opened a second ago; times are in seconds from now."""
    opens_at, closes_at = (from_now(seconds=each) for each in (opens_in, closes_in))
    times: Any = {"opens_at": opens_at, "closes_at": closes_at, "admitted_for_seconds": 300}
    wanted = times | {"name": "Drop", "admission": "queue", "rate_per_minute": 600} | given
    return terms.create(product_ids=[one.pk for one in products or [ProductFactory(on_hand=10)]], **wanted)


def pause(sale) -> Sale:
    return terms.set_paused(sale_id=sale.pk, is_paused=True, reason="The price is wrong.")


def resume(sale) -> Sale:
    return terms.set_paused(sale_id=sale.pk, is_paused=False, reason="The price is right.")


def join(sale, account: User | int | None = None) -> Entry:
    """The entry of this account, or of the one with this id; else of a new one."""
    owner = account or AccountFactory()
    return joining.JOINER.submit(JoinRequest(sale.pk, getattr(owner, "pk", owner)))


def admitted(sale, account: User | int | None = None) -> Entry:
    """An entry of the sale that is admitted."""
    entry = join(sale, account)
    advancing.advance(sale.pk)
    assert read(entry).status == "admitted"
    return entry


def join_all(sale, number: int) -> list[Entry]:
    """The entries of so many new accounts, which joined one after the other."""
    return [join(sale) for _ in range(number)]


def join_many(sale, number: int):
    """Let so many new accounts join, by batches as of that many requests at once; they cannot sign in."""
    names = [f"of-sale-{sale.pk}-{index}" for index in range(number)]
    User.objects.bulk_create([User(username=name, password="!") for name in names], batch_size=JOINED_AT_ONCE)
    found = User.objects.filter(username__startswith=f"of-sale-{sale.pk}-").order_by("pk")
    join_accounts(sale, list(found.values_list("pk", flat=True)))


def join_accounts(sale, account_ids: Sequence[int]):
    """Let these accounts join one after the other, by batches."""
    requests = [JoinRequest(sale.pk, account_id) for account_id in account_ids]
    for start in range(0, len(requests), JOINED_AT_ONCE):
        batch = requests[start : start + JOINED_AT_ONCE]
        transactions.run(partial(joining._join, batch), transactions.REPEATABLE)


def read(entry) -> Entry:
    """The entry as it stands now."""
    return joining.READER.submit(entry.id)


def statuses(*read_entries: Entry) -> Sequence[str]:
    """What these entries are now."""
    found = SaleEntry.objects.in_bulk([entry.id for entry in read_entries])
    return [found[entry.id].status for entry in read_entries]
