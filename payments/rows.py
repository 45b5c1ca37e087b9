"""The rows of payments and of the ledger.

- A transfer locks its wallets in the order of their ids, and writes wallets, transfers, entries: wallets come
  first, because they are the entries' parents.
- Payments are inserted after their order. Settling locks those of top-ups before their sagas; those of orders
  are protected by the order's lock.
- What changes a payment's status, by the table of `payments.transitions`, is a guarded update inside the
  caller's transaction, so of two processes that end a payment one wins. It returns whether the payment
  has the requested state now.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import F, Q
from uuid_utils.compat import uuid7

from foundation import clock
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.outbound import backoff
from payments import gateways
from payments.gateways.contract import Books
from payments.models import Entry, LedgerAccount, Payment, Transfer, WebhookEvent
from payments.transfers import Amounts, NewTransfer, Payable, Proposal
from payments.transitions import SOURCES, UNSETTLED, Status

# Each row goes through the cases one by one, so the cost grows with the square of their number.
WALLETS_PER_STATEMENT = 500
ENTRIES = bulk_sql.Table(Entry, ("transfer_id", "account_id", "amount", "balance_after_amount"))
NAMED_AT_ONCE = 1_000


# The ledger


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


# Payments


def new_payment(*, at: datetime, order: Payable | None = None, **fields: Any) -> Payment:
    """An unsaved payment of an order, or without one a top-up, at the gateway of new payments for good."""
    if order:
        copied = ("account_id", "points_amount", "card_amount", "currency")
        fields |= {"order_id": order.id} | {name: getattr(order, name) for name in copied}
    payment_id = uuid7()
    fields |= gateways.current_books()._asdict()
    return Payment(id=payment_id, charge_key=f"payment-{payment_id}", created_at=at, **fields)


def insert_payments(payments: Sequence[Payment]) -> None:
    """Insert new payments; must be called inside a transaction, after their order is inserted or locked."""
    bulk_sql.insert_objects(payments)


def read_payments(ids: Collection[UUID]) -> dict[UUID, Payment]:
    """These payments by id; none, and no statement, without an id."""
    if not ids:
        return {}
    cells = bulk_sql.SqlLiterals()
    found = bulk_sql.reader(Payment).models(f"id IN ({cells.listed(ids)})", cells)
    return {payment.id: payment for payment in found}


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


def lock_payments(ids: Collection[UUID], skip_locked: bool) -> dict[UUID, Payment]:
    """Lock these payments in the order of their ids, with `skip_locked` those that no other holds."""
    payments = Payment.objects.select_for_update(skip_locked=skip_locked)
    return {payment.id: payment for payment in payments.filter(id__in=ids).order_by("id")}


def unsettled_references(references: Collection[UUID], at: datetime) -> set[UUID]:
    """Those of these orders and payments whose payment had not settled at that instant."""
    found = Payment.objects.filter(Q(id__in=references) | Q(order_id__in=references))
    open_then = found.exclude(settled_at__lte=at).values_list("id", "order_id")
    return {id for pair in open_then for id in pair if id} & set(references)


# Their gateways and books


def read_gateways(ids: Collection[UUID]) -> dict[UUID, str]:
    """The names of these payments' gateways."""
    return dict(bulk_sql.reader(Payment, ("id", "gateway")).rows_of(ids))


def are_in(books: Books) -> Q:
    """The condition for payments that are in these books."""
    named = Q(**books._asdict())
    return named | Q(gateway="") if books == gateways.current_books() else named


def known_books() -> set[Books]:
    """The books that payments are in by name."""
    found = Payment.objects.exclude(gateway="").values_list("gateway", "gateway_account").distinct()
    return {Books(*row) for row in found}


def name_gateways() -> None:
    """Have payments that the release before started be at the gateway of new payments for good, but those
    that are locked: the next call names them.
    """
    unnamed = Payment.objects.filter(gateway="")
    now = gateways.current_books()._asdict()

    def name_some() -> int:
        free = unnamed.select_for_update(skip_locked=True).values_list("id", flat=True)
        return unnamed.filter(id__in=list(free[:NAMED_AT_ONCE])).update(**now)

    while transactions.run(name_some, transactions.REPEATABLE):
        pass


# Their statuses


def mark_in_doubt(payment_id: UUID) -> bool:
    """The gateway gave no answer: the charge may have happened."""
    return _transition(payment_id, to=Status.IN_DOUBT)


def require_action(payment_id: UUID, *, url: str, expires_at: datetime) -> bool:
    """The card's owner must act at this address until then; whether the payment waits for that now. One in
    doubt is pending again: the gateway is known to wait.
    """
    open_transaction.assert_inside()
    if expires_at <= clock.now():
        return False
    found = Payment.objects.filter(id=payment_id, status__in=UNSETTLED)
    return bool(found.update(status=Status.PENDING, action_url=url, action_expires_at=expires_at))


def end_action(payment_id: UUID) -> None:
    """Nothing is left to do for the card's owner. When the action would have ended stays recorded."""
    open_transaction.assert_inside()
    Payment.objects.filter(id=payment_id).exclude(action_url="").update(action_url="")


def with_action() -> Q:
    """The condition for payments that wait for the card's owner now; their status has no index."""
    return Q(status=Status.PENDING, action_expires_at__gt=clock.now()) & ~Q(action_url="")


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


def end_unpaid(payment_id: UUID, *, to: str, code: str, detail: str, at: datetime, **fields: Any) -> bool:
    """End the payment because of `code`: `failed` with nothing charged, or `reversed` after its charge. The
    card's token and the address of its owner's page are deleted.
    """
    return _transition(
        payment_id,
        to=to,
        token="",
        action_url="",
        failure_code=code,
        failure_detail=detail[:255],
        settled_at=at,
        **fields,
    )


def _transition(payment_id: UUID, *, to: str, **fields: Any) -> bool:
    """Whether the payment is now in the state `to`, by this call or an earlier one."""
    open_transaction.assert_inside()
    found = Payment.objects.filter(id=payment_id)
    if found.filter(status__in=SOURCES[to]).update(status=to, **fields):
        return True
    return found.filter(status=to).exists()


# Their refunds


def change_refunds(order_id: UUID, *, refunding: int, refunded: int = 0) -> None:
    """Add these amounts, which may be below 0, to what is being refunded of the order's card amount, and to
    what is refunded. The order must be locked.

    The payment stays `succeeded` even when all of it is refunded: refunds have rows of their own.
    """
    open_transaction.assert_inside()
    refunding_amount = F("refunding_amount")
    refunded_amount = F("refunded_amount")
    found = Payment.objects.filter(
        order_id=order_id,
        status=Status.SUCCEEDED,
        refunding_amount__gte=-refunding,
        card_amount__gte=refunding_amount + refunded_amount + max(0, refunding + refunded),
    )
    if not found.update(
        refunding_amount=refunding_amount + refunding, refunded_amount=refunded_amount + refunded
    ):
        raise RuntimeError(f"The payment of order {order_id} can't be refunded that much.")


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


# Webhooks


def is_webhook_due() -> bool:
    """Whether an event of a gateway is to be handled now."""
    cells = bulk_sql.SqlLiterals()
    condition = clock.has_come_sql("next_attempt_at", cells, most_seconds=backoff.LONGEST_SECONDS)
    return bool(bulk_sql.reader(WebhookEvent, ("id",)).rows(f"{condition} LIMIT 1", cells))
