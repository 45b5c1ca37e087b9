"""The ledger, by double entry: money moves by transfers whose entries sum to zero, appended and never
changed.

Points are held, released, sold, refunded, bought, granted and forfeited: inside a transaction, and once for
an order, payment or reference, as kind and reference identify a transfer. `is_locked` says that the caller's
locks, such as those of the orders, exclude duplicates: then none is looked for. Wallets are locked in the
order of their ids, in one statement; lock what comes before them (order, saga, stock, campaign, coupon)
first, and open a wallet before the transaction that moves its money: opening it inside may deadlock with a
duplicate.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import zip_longest
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import IntegrityError

from foundation import clock, journal
from foundation.db import open_transaction
from foundation.errors import NotFound, Rejected
from foundation.journal import ActorContext
from foundation.lazy_texts import mark
from payments import metrics, rows, transfers
from payments.models import Entry, LedgerAccount, Payment, Transfer
from payments.transfers import GATEWAY_CLEARING, PROMOTIONS, SALES, Amounts, NewTransfer, Payable, Proposal

Kind = Transfer.Kind


def open_wallet(user_id: int) -> int:
    """The account of the user's wallet, opened if there is none. Raises `NotFound` for an unknown user."""
    if LedgerAccount.objects.filter(id=user_id).exists():
        return user_id
    if not get_user_model().objects.filter(id=user_id).exists():
        raise NotFound(mark("There is no user {user_id}.", user_id=user_id))
    LedgerAccount.objects.get_or_create(
        id=user_id, defaults={"kind": LedgerAccount.Kind.WALLET, "user_id": user_id}
    )
    return user_id


def balance_amount(user_id: int) -> int:
    """The points in the user's wallet, as committed last; 0 without a wallet."""
    return balances([user_id]).get(user_id, 0)


def balances(user_ids: Iterable[int]) -> dict[int, int]:
    """The points in these users' wallets, as committed last; 0 without a wallet."""
    wanted = set(user_ids)
    known = LedgerAccount.objects.filter(id__in=wanted).values_list("id", "balance_amount")
    return dict.fromkeys(wanted, 0) | dict(known)


def transfer_for_orders(
    kind: str,
    amounts_of: Callable[[Payable], Amounts],
    orders: Sequence[Payable],
    *,
    at: datetime | None = None,
    is_locked: bool = False,
    references: Mapping[UUID, UUID] | None = None,
) -> list[Transfer | Rejected | None]:
    """The transfer of this kind for each order, decided in the given order, once per order, or per payment of
    it that `references` names; None where nothing moves. A refusal is returned and not raised.
    """
    open_transaction.assert_inside()
    amounts = [amounts_of(order) for order in orders]
    references = references or {}
    proposals = [
        Proposal(kind=kind, reference=str(references.get(one.id, one.id)), amounts=parts, order_id=one.id)
        for one, parts in zip(orders, amounts, strict=True)
        if any(parts.values())
    ]
    decided = iter(transfer_many(proposals, at=at, is_locked=is_locked) if proposals else ())
    return [next(decided) if any(parts.values()) else None for parts in amounts]


hold_points = partial(transfer_for_orders, Kind.HOLD, transfers.held)
"""Hold points of these orders' wallets; an order may be refused as `insufficient_points`."""
release_points = partial(transfer_for_orders, Kind.RELEASE, transfers.released)
"""Return the points held for these orders to their wallets."""
settle_sales = partial(transfer_for_orders, Kind.SALE, transfers.sold)
"""Turn the points held for these orders, and the charged amounts, into sales."""


def reverse(payment: Payment, *, kind: str, reference: str, amount: int) -> None:
    """Take back so much of an order's sale, or of the points of a top-up, as the gateway gave back of the
    payment's charge or has lost. A top-up must be locked; points that are spent already count as given away.
    """
    amounts: Amounts = {SALES: -amount, GATEWAY_CLEARING: amount}
    if payment.order_id is None:
        wallet = LedgerAccount.objects.select_for_update().get(id=payment.account_id)
        amounts = transfers.taken_back(amount, wallet_id=wallet.id, balance_amount=wallet.balance_amount)
    transfer(kind=kind, reference=reference, amounts=amounts, order_id=payment.order_id)


def revoke(*, kind: str, reference: str, ends: str) -> None:
    """Move back what the transfer of this reference moved, if there is one, by one whose reference `ends`
    so.
    """
    moved = Entry.objects.filter(transfer__kind=kind, transfer__reference=reference)
    entries = list(moved.select_related("transfer"))
    if entries:
        amounts = {entry.account_id: -entry.amount for entry in entries}
        order_id = entries[0].transfer.order_id
        transfer(kind=kind, reference=f"{reference}{ends}", amounts=amounts, order_id=order_id)


def credit_top_ups(
    payments: Sequence[Payment], *, by: Sequence[ActorContext] = (), is_locked: bool = False
) -> None:
    """Add the charged amounts of top-ups to their wallets, which must be open (`open_wallet`)."""
    proposals = [
        Proposal(
            kind=Kind.TOP_UP,
            reference=str(payment.id),
            amounts={GATEWAY_CLEARING: -payment.card_amount, payment.account_id: payment.card_amount},
            by=actor,
        )
        for payment, actor in zip_longest(payments, by)
    ]
    transfer_many(proposals, is_locked=is_locked)


def grant(*, user_id: int, amount: int, reason: str, reference: str) -> Entry:
    """Add granted points to the wallet, which must be open (`open_wallet`), and return its entry."""
    amounts = {PROMOTIONS: -amount, user_id: amount}
    granted = transfer(kind=Kind.GRANT, reference=reference, amounts=amounts, reason=reason)
    return Entry.objects.select_related("transfer").get(transfer=granted, account_id=user_id)


def forfeit(*, user_id: int, amount: int, reason: str, reference: str) -> None:
    """Return all that the wallet of an account holds to the shop, when the account is erased."""
    amounts = {user_id: -amount, PROMOTIONS: amount}
    transfer(kind=Kind.FORFEIT, reference=reference, amounts=amounts, reason=reason)


def bulk_open_wallets(user_ids: Collection[int], amount: int) -> int:
    """Open the wallets that are missing with `amount` granted to each; return how many. For demo data: no
    other process may open the same wallets meanwhile.
    """
    open_transaction.assert_inside()
    existing = LedgerAccount.objects.filter(id__in=user_ids).values_list("id", flat=True)
    missing = sorted(set(user_ids).difference(existing))
    LedgerAccount.objects.bulk_create(
        [LedgerAccount(id=id, kind=LedgerAccount.Kind.WALLET, user_id=id) for id in missing]
    )
    grants = [
        Proposal(
            kind=Kind.GRANT,
            reference=f"opening {id}",
            amounts={PROMOTIONS: -amount, id: amount},
            reason="Opening balance",
        )
        for id in missing
    ]
    transfer_many(grants if amount else [], is_locked=True)
    return len(missing)


def transfer(
    *,
    kind: str,
    reference: str,
    amounts: Amounts,
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
    transfer of each, or its refusal. Raises `ValueError` as `transfer` does.
    """
    open_transaction.assert_inside()
    transfers.check_balanced(proposals)
    at = at or clock.now()
    if is_locked:
        return _decide_and_write(proposals, at, is_new=True)
    try:
        with open_transaction.savepoint():
            return _decide_and_write(proposals, at)
    except IntegrityError:
        # A duplicate without a common wallet was faster. It has committed, so it is found now.
        return _decide_and_write(proposals, at)


def _decide_and_write(
    proposals: Sequence[Proposal], at: datetime, is_new: bool = False
) -> list[Transfer | Rejected]:
    """Lock the wallets, read existing transfers unless all are new, decide in memory, and write."""
    balances = rows.lock_wallets({id for proposal in proposals for id in proposal.amounts if id > 0})
    # Read after the locks, so that a duplicate that held them is found.
    known = rows.read_transfers(proposals) if proposals and not is_new else {}
    new: list[tuple[Transfer, NewTransfer]] = []
    outcomes: list[Transfer | Rejected] = []
    for proposal, decided in zip(proposals, transfers.decide(proposals, known, balances), strict=True):
        if isinstance(decided, Rejected):
            outcomes.append(decided)
            continue
        if decided:
            known[proposal.name] = Transfer(
                kind=proposal.kind,
                reference=proposal.reference,
                order_id=proposal.order_id,
                reason=proposal.reason,
                at=at,
            )
            new.append((known[proposal.name], decided))
        outcomes.append(known[proposal.name])
    rows.write_transfers(new, balances)
    if new:
        _note(new)
    return outcomes


def _note(new: Sequence[tuple[Transfer, NewTransfer]]) -> None:
    open_transaction.count_after_commit(
        metrics.count_points, [(one.kind, decided.proposal.amounts) for one, decided in new]
    )
    journal.note_all(
        journal.build_line(
            what=f"points.{one.kind}",
            subject=f"wallet {id}",
            order_id=one.order_id,
            before={"balance_amount": balance - amount},
            after={"balance_amount": balance},
            detail=one.reason,
            # One of an order is internal: customers see the order's events.
            is_internal=one.order_id is not None,
            at=one.at,
            by=decided.proposal.by,
        )
        for one, decided in new
        for id, balance in decided.balances.items()
        if (amount := decided.proposal.amounts[id])
    )
