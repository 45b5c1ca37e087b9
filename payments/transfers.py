"""Double entry: money moves by transfers whose entries sum to zero, appended and never changed.

Kind and reference identify a transfer, so a repeat returns the existing one. Wallets are locked in the order
of their ids, in one statement; lock what comes before them (order, saga, stock, campaign, coupon) first.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, connection

from payments import metrics
from payments.models import Entry, LedgerAccount, Transfer
from shop import clock
from shop.db import bulk_sql, open_transaction
from shop.errors import Rejected
from shop.events import journal
from shop.events.journal import ActorContext
from shop.lazy_texts import mark as _

# Each row goes through the cases one by one, so the cost grows with the square of their number.
WALLETS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A requested transfer. `amounts` are signed, by account id: a positive amount is credited."""

    kind: str
    reference: str
    amounts: Mapping[int, int]
    order_id: UUID | None = None
    reason: str = ""
    by: ActorContext | None = None


def transfer(
    *,
    kind: str,
    reference: str,
    amounts: Mapping[int, int],
    order_id: UUID | None = None,
    reason: str = "",
    at: datetime | None = None,
) -> Transfer:
    """Move money between accounts, once for this kind and reference.

    Raises `Rejected` `insufficient_points` when a wallet would go below zero, and `ValueError` when the
    amounts don't sum to zero, move nothing, or credit a wallet that isn't open.
    """
    proposal = Proposal(kind=kind, reference=reference, amounts=amounts, order_id=order_id, reason=reason)
    [outcome] = transfer_many([proposal], at=at)
    if isinstance(outcome, Rejected):
        raise outcome
    return outcome


def transfer_many(
    proposals: Sequence[Proposal], *, at: datetime | None = None, is_locked: bool = False
) -> list[Transfer | Rejected]:
    """Decide these transfers in the given order, in the same few statements for any number; returns the
    transfer of each, or its refusal.

    `is_locked` says that the caller's locks, such as those of the orders, exclude duplicates: then there is
    no savepoint. Raises `ValueError` as `transfer` does.
    """
    open_transaction.assert_inside()
    for proposal in proposals:
        if sum(proposal.amounts.values()) or not any(proposal.amounts.values()):
            raise ValueError(f"{proposal.kind} {proposal.reference} must move something, and sum to zero.")
    at = at or clock.now()
    if is_locked:
        return _decide(proposals, at)
    try:
        with open_transaction.savepoint():
            return _decide(proposals, at)
    except IntegrityError:
        # A duplicate without a common wallet was faster. It has committed, so it is found now.
        return _decide(proposals, at)


def _decide(proposals: Sequence[Proposal], at: datetime) -> list[Transfer | Rejected]:
    """Lock the wallets, read existing transfers, decide in memory, and write."""
    before = _lock_wallets({id for proposal in proposals for id in proposal.amounts if id > 0})
    balances = dict(before)
    known = _read_existing(proposals)
    made: list[tuple[Transfer, Proposal, dict[int, int]]] = []
    outcomes: list[Transfer | Rejected] = []
    for proposal in proposals:
        name = (proposal.kind, proposal.reference)
        outcome = known.get(name) or _refusal(proposal, balances)
        if outcome is None:
            outcome = known[name] = Transfer(
                kind=proposal.kind,
                reference=proposal.reference,
                order_id=proposal.order_id,
                reason=proposal.reason,
                at=at,
            )
            made.append((outcome, proposal, _apply(proposal, balances)))
        outcomes.append(outcome)
    _write_rows(made, {id: balance for id, balance in balances.items() if balance != before[id]})
    return outcomes


def _lock_wallets(wallet_ids: Collection[int]) -> dict[int, int]:
    """The balances of the wallets that are open, locked until the transaction ends."""
    if not wallet_ids:
        return {}
    # A locking read of a missing row locks the gap around it, so only existing rows are locked.
    wallets = bulk_sql.reader(LedgerAccount, ("id", "balance_amount"))
    existing = [id for id, _ in wallets.rows_of(wallet_ids)]
    return dict(wallets.rows_of(existing, lock=bulk_sql.for_update()))


def _read_existing(proposals: Sequence[Proposal]) -> dict[tuple[str, str], Transfer]:
    """The transfers that exist. Read after the locks, so that a duplicate that held them is found."""
    if not proposals:
        return {}
    cells = bulk_sql.SqlLiterals()
    kinds = cells.listed({str(proposal.kind) for proposal in proposals})
    references = cells.listed({proposal.reference for proposal in proposals})
    columns = bulk_sql.reader(Transfer, alias="known")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns.selected} FROM payments_transfer known"  # noqa: S608 - names and values of ours
            f" WHERE known.kind IN ({kinds}) AND known.reference IN ({references})",
            cells.parameters or None,
        )
        found = [columns.to_model(row) for row in cursor.fetchall()]
    return {(transfer.kind, transfer.reference): transfer for transfer in found}


def _refusal(proposal: Proposal, balances: Mapping[int, int]) -> Rejected | None:
    for id, amount in proposal.amounts.items():
        if id > 0 and amount > 0 and id not in balances:
            raise ValueError(f"The wallet of user {id} isn't open.")
        if id > 0 and balances.get(id, 0) + amount < 0:
            return Rejected(_("The wallet holds fewer points than that."), code="insufficient_points")
    return None


def _apply(proposal: Proposal, balances: dict[int, int]) -> dict[int, int]:
    """Apply the proposal to the balances, and return those of its wallets afterwards."""
    after = {id: balances[id] + amount for id, amount in proposal.amounts.items() if id in balances}
    balances.update(after)
    return after


def _write_rows(
    made: Sequence[tuple[Transfer, Proposal, dict[int, int]]], balances: Mapping[int, int]
) -> None:
    """Write all rows, by one statement for each table. Wallets come first: they are the entries' parents."""
    ids = sorted(balances)
    for start in range(0, len(ids), WALLETS_PER_STATEMENT):
        _set_balances({id: balances[id] for id in ids[start : start + WALLETS_PER_STATEMENT]})
    if not made:
        return
    bulk_sql.insert_objects([one for one, _, _ in made])
    bulk_sql.insert_objects(
        [
            Entry(transfer_id=one.id, account_id=id, amount=amount, balance_after_amount=after.get(id))
            for one, proposal, after in made
            for id, amount in proposal.amounts.items()
            if amount
        ]
    )
    open_transaction.count_after_commit(
        metrics.count_points, [(one.kind, proposal.amounts) for one, proposal, _ in made]
    )
    for one, proposal, after in made:
        for id, balance in after.items():
            _note(one, wallet_id=id, amount=proposal.amounts[id], balance=balance, by=proposal.by)


def _set_balances(balances: Mapping[int, int]) -> None:
    cases = " ".join(f"WHEN {id:d} THEN {balance:d}" for id, balance in balances.items())
    bulk_sql.execute_deferred(
        f"UPDATE {connection.ops.quote_name(LedgerAccount._meta.db_table)}"  # noqa: S608 - numbers
        f" SET balance_amount = CASE id {cases} END WHERE id IN ({bulk_sql.integer_list(balances)})"
    )


def _note(one: Transfer, *, wallet_id: int, amount: int, balance: int, by: ActorContext | None) -> None:
    """Note what a transfer did to a wallet; one of an order is internal: customers see the order's events."""
    if not amount:
        return
    journal.note(
        what=f"points.{one.kind}",
        subject=f"wallet {wallet_id}",
        order_id=one.order_id,
        before={"balance_amount": balance - amount},
        after={"balance_amount": balance},
        detail=one.reason,
        is_internal=one.order_id is not None,
        at=one.at,
        by=by,
    )
