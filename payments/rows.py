"""The rows of payments and of the ledger.

- A transfer locks its wallets in the order of their ids, and writes wallets, transfers, entries: wallets come
  first, because they are the entries' parents.
- What ends payments, or their refunds, changes their rows by one statement, under the locks of their orders.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

from foundation import clock
from foundation.db import bulk_sql, open_transaction
from foundation.outbound import backoff
from payments.models import Entry, LedgerAccount, Payment, Transfer, WebhookEvent
from payments.transfers import Amounts, NewTransfer, Proposal
from payments.transitions import SOURCES, Status

# Each row goes through the cases one by one, so the cost grows with the square of their number.
WALLETS_PER_STATEMENT = 500
ENTRIES = bulk_sql.Table(Entry, ("transfer_id", "account_id", "amount", "balance_after_amount"))


def lock_wallets(wallet_ids: Iterable[int]) -> dict[int, int]:
    """The balances of these wallets, locked; those that are not open are absent."""
    # A locking read of a missing row locks the gap around it, so only existing rows are locked.
    wallets = bulk_sql.reader(LedgerAccount, ("id", "balance_amount"))
    existing = [id for id, _ in wallets.rows_of(wallet_ids)]
    return dict(wallets.rows_of(existing, lock=bulk_sql.for_update()))


def read_transfers(proposals: Collection[Proposal]) -> dict[tuple[str, str], Transfer]:
    """The transfers with these kinds and references, by both."""
    cells = bulk_sql.SqlLiterals()
    kinds = cells.listed({str(proposal.kind) for proposal in proposals})
    references = cells.listed({proposal.reference for proposal in proposals})
    found = bulk_sql.reader(Transfer).models(f"kind IN ({kinds}) AND reference IN ({references})", cells)
    return {(transfer.kind, transfer.reference): transfer for transfer in found}


def write_transfers(new: Sequence[tuple[Transfer, NewTransfer]], before: Amounts) -> None:
    """Write these transfers with their entries, and wallets whose balances are not as before, by one
    statement for each table.
    """
    balances = dict(before)
    for _, decided in new:
        balances |= decided.balances
    ids = iter(sorted(id for id, balance in balances.items() if balance != before[id]))
    while chunk := [*islice(ids, WALLETS_PER_STATEMENT)]:
        amounts = bulk_sql.SqlLiterals().case("id", {id: balances[id] for id in chunk})
        ids_of_chunk = bulk_sql.integer_list(chunk)
        bulk_sql.execute_deferred(
            f"UPDATE payments_ledgeraccount SET balance_amount = {amounts} WHERE id IN ({ids_of_chunk})"  # noqa: S608 - numbers
        )
    if not new:
        return
    bulk_sql.insert_objects([transfer for transfer, _ in new])
    entries = [
        (transfer.id, id, amount, decided.balances.get(id))
        for transfer, decided in new
        for id, amount in decided.proposal.amounts.items()
        if amount
    ]
    bulk_sql.insert(ENTRIES, entries)


def payments_of(order_ids: Collection[UUID]) -> dict[UUID, list[Payment]]:
    """The payments of each of these orders that has any, the first one first."""
    payments: dict[UUID, list[Payment]] = defaultdict(list)
    cells = bulk_sql.SqlLiterals()
    # An index finds them; in a batch of many orders they are sorted here, for less than the database's sort.
    found = f"order_id IN ({cells.listed(order_ids) or 'NULL'})"
    for payment in bulk_sql.reader(Payment).models(found, cells):
        assert payment.order_id
        payments[payment.order_id].append(payment)
    for each in payments.values():
        each.sort(key=lambda payment: (payment.number, payment.created_at, payment.id))
    return payments


def mark_succeeded(charges: Mapping[UUID, str], *, at: datetime) -> int:
    """Mark these payments as succeeded, by one statement, with the gateway's ids of their charges, empty
    without a card; returns how many changed.
    """
    open_transaction.assert_inside()
    cells = bulk_sql.SqlLiterals()
    references = cells.case("id", charges)
    sources = cells.listed(SOURCES[Status.SUCCEEDED])
    statement = (
        f"UPDATE payments_payment SET status = {cells[Status.SUCCEEDED]}, settled_at = {cells[at]},"  # noqa: S608
        f" token = '', action_url = '', charge_reference = {references}"
        f" WHERE id IN ({cells.listed(charges)}) AND status IN ({sources})"
    )
    return bulk_sql.execute(statement, cells.parameters)


def settle_refunds(amounts: Mapping[UUID, int]) -> None:
    """Have these amounts of the orders' cards, which were about to be, be refunded, by one statement. The
    orders must be locked.
    """
    open_transaction.assert_inside()
    cells = bulk_sql.SqlLiterals()
    amount = cells.case("order_id", amounts)
    statement = (
        f"UPDATE payments_payment SET refunded_amount = refunded_amount + {amount},"  # noqa: S608
        f" refunding_amount = refunding_amount - {amount} WHERE order_id IN ({cells.listed(amounts)})"
        f" AND status = {cells[str(Status.SUCCEEDED)]} AND refunding_amount >= {amount}"
    )
    if bulk_sql.execute(statement, cells.parameters) != len(amounts):
        raise RuntimeError("The payment of one of these orders can't be refunded that much.")


def is_webhook_due() -> bool:
    """Whether an event of a gateway is to be handled now."""
    cells = bulk_sql.SqlLiterals()
    condition = clock.has_come_sql("next_attempt_at", cells, most_seconds=backoff.LONGEST_SECONDS)
    return bool(bulk_sql.reader(WebhookEvent, ("id",)).rows(f"{condition} LIMIT 1", cells))
