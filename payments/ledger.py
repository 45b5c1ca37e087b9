"""The transfers of the shop: points are held, released, sold, refunded, bought, granted and forfeited.

All must be called inside a transaction and happen once for their order, payment or reference. `is_locked`
says that the caller has locked these orders or payments, so no duplicate can run at the same time. Open a
wallet before the transaction that moves its money: opening it inside may deadlock with a duplicate.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from uuid import UUID

from django.contrib.auth import get_user_model

from payments import transfers
from payments.models import (
    GATEWAY_CLEARING,
    HOLDING,
    PROMOTIONS,
    SALES,
    Entry,
    LedgerAccount,
    Payment,
    Transfer,
)
from payments.payment_states import Payable
from payments.transfers import Proposal
from shop.db import open_transaction
from shop.errors import NotFound, Rejected
from shop.events.journal import ActorContext
from shop.lazy_texts import mark as _

Kind = Transfer.Kind
WALLETS_PER_STATEMENT = 1_000
NO_REFERENCES: Mapping[UUID, UUID] = {}


def open_wallet(user_id: int) -> int:
    """The account of the user's wallet, opened if there is none. Raises `NotFound` for an unknown user."""
    if LedgerAccount.objects.filter(id=user_id).exists():
        return user_id
    if not get_user_model().objects.filter(id=user_id).exists():
        raise NotFound(_("There is no user {user_id}.", user_id=user_id))
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


def release_points(
    orders: Sequence[Payable],
    *,
    is_locked: bool = False,
    references: Mapping[UUID, UUID] = NO_REFERENCES,
) -> list[Transfer | Rejected | None]:
    """Return the points held for these orders to their wallets, once per order, or per payment of it that
    `references` names.
    """
    amounts = {
        order.id: {HOLDING: -order.points_amount, order.account_id: order.points_amount} for order in orders
    }
    return _transfer_many(Kind.RELEASE, amounts, None, is_locked=is_locked, references=references)


def hold_points(
    orders: Sequence[Payable],
    *,
    is_locked: bool = False,
    references: Mapping[UUID, UUID] = NO_REFERENCES,
) -> list[Transfer | Rejected | None]:
    """Hold points of these orders' wallets, one order after the other, once per order as in `release_points`.

    None for an order without points; a refusal, `insufficient_points`, is returned and not raised.
    """
    amounts = {
        order.id: {order.account_id: -order.points_amount, HOLDING: order.points_amount} for order in orders
    }
    return _transfer_many(Kind.HOLD, amounts, None, is_locked=is_locked, references=references)


def settle_sales(
    orders: Sequence[Payable], *, at: datetime | None = None, is_locked: bool = False
) -> list[Transfer | Rejected | None]:
    """Turn the points held for these orders, and the charged amounts, into sales. None for one that costs
    nothing.
    """
    amounts = {
        order.id: {
            HOLDING: -order.points_amount,
            GATEWAY_CLEARING: -order.card_amount,
            SALES: order.points_amount + order.card_amount,
        }
        for order in orders
    }
    return _transfer_many(Kind.SALE, amounts, at, is_locked=is_locked)


def refund(
    *,
    refund_id: UUID,
    order_id: UUID,
    user_id: int,
    points_amount: int,
    card_amount: int,
    at: datetime | None = None,
) -> Transfer | None:
    """Reverse a part of a sale, once per refund: points return to the wallet, the rest by the gateway."""
    open_transaction.assert_inside()
    if not points_amount + card_amount:
        return None
    return transfers.transfer(
        kind=Kind.REFUND,
        reference=str(refund_id),
        amounts={SALES: -points_amount - card_amount, GATEWAY_CLEARING: card_amount, user_id: points_amount},
        order_id=order_id,
        at=at,
    )


def reverse_top_up(payment: Payment, *, kind: str, reference: str, amount: int) -> None:
    """Take back points of a top-up whose charge the gateway gave back, or has lost; its payment must be
    locked. Points that are spent already count as given away.
    """
    open_transaction.assert_inside()
    wallet = LedgerAccount.objects.select_for_update().get(id=payment.account_id)
    taken_amount = min(wallet.balance_amount, amount)
    amounts = {GATEWAY_CLEARING: amount, PROMOTIONS: taken_amount - amount, payment.account_id: -taken_amount}
    transfers.transfer(kind=kind, reference=reference, amounts=amounts)


def lose_dispute(payment: Payment, *, dispute_id: int, amount: int) -> None:
    """Book what a lost dispute took from the shop's account at the gateway."""
    reference = f"dispute {dispute_id}"
    if not amount:
        return
    if payment.order_id is None:
        reverse_top_up(payment, kind=Kind.LOSS, reference=reference, amount=amount)
    else:
        amounts = {SALES: -amount, GATEWAY_CLEARING: amount}
        transfers.transfer(kind=Kind.LOSS, reference=reference, amounts=amounts, order_id=payment.order_id)


def recover_dispute(payment: Payment, *, dispute_id: int) -> None:
    """Reverse the loss of a dispute that is won after all."""
    reference = f"dispute {dispute_id}"
    lost = Entry.objects.filter(transfer__kind=Kind.LOSS, transfer__reference=reference)
    if amounts := {entry.account_id: -entry.amount for entry in lost}:
        transfers.transfer(
            kind=Kind.LOSS, reference=f"{reference} won", amounts=amounts, order_id=payment.order_id
        )


def credit_top_ups(
    payments: Sequence[Payment],
    *,
    by: Sequence[ActorContext] = (),
    is_locked: bool = False,
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
    transfers.transfer_many(proposals, is_locked=is_locked)


def grant(*, user_id: int, amount: int, reason: str, reference: str, at: datetime | None = None) -> Entry:
    """Add granted points to the wallet, which must be open (`open_wallet`), and return its entry."""
    granted = transfers.transfer(
        kind=Kind.GRANT,
        reference=reference,
        amounts={PROMOTIONS: -amount, user_id: amount},
        reason=reason,
        at=at,
    )
    return Entry.objects.select_related("transfer").get(transfer=granted, account_id=user_id)


def forfeit(*, user_id: int, amount: int, reason: str, reference: str) -> None:
    """Return all that the wallet of an account holds to the shop, when the account is erased."""
    transfers.transfer(
        kind=Kind.FORFEIT,
        reference=reference,
        amounts={user_id: -amount, PROMOTIONS: amount},
        reason=reason,
    )


def _transfer_many(
    kind: str,
    amounts: Mapping[UUID, Mapping[int, int]],
    at: datetime | None,
    *,
    is_locked: bool,
    references: Mapping[UUID, UUID] = NO_REFERENCES,
) -> list[Transfer | Rejected | None]:
    """The transfer of this kind for each order, decided in the given order; None where nothing moves."""
    open_transaction.assert_inside()
    moving = {order_id: parts for order_id, parts in amounts.items() if any(parts.values())}
    proposals = [
        Proposal(
            kind=kind, reference=str(references.get(order_id, order_id)), amounts=parts, order_id=order_id
        )
        for order_id, parts in moving.items()
    ]
    decided = transfers.transfer_many(proposals, at=at, is_locked=is_locked) if proposals else []
    outcomes = dict(zip(moving, decided, strict=True))
    return [outcomes.get(order_id) for order_id in amounts]


def bulk_open_wallets(user_ids: Collection[int], amount: int) -> int:
    """Open the wallets that are missing with `amount` granted to each; return how many. For demo data: no
    other process may open the same wallets meanwhile.
    """
    open_transaction.assert_inside()
    wanted = sorted(set(user_ids))
    chunks = [wanted[at : at + WALLETS_PER_STATEMENT] for at in range(0, len(wanted), WALLETS_PER_STATEMENT)]
    return sum(_open_wallets(chunk, amount) for chunk in chunks)


def _open_wallets(user_ids: Collection[int], amount: int) -> int:
    existing = set(LedgerAccount.objects.filter(id__in=user_ids).values_list("id", flat=True))
    missing = [id for id in user_ids if id not in existing]
    LedgerAccount.objects.bulk_create(
        LedgerAccount(id=id, kind=LedgerAccount.Kind.WALLET, user_id=id) for id in missing
    )
    if amount:
        grants = [
            Proposal(
                kind=Kind.GRANT,
                reference=f"opening {id}",
                amounts={PROMOTIONS: -amount, id: amount},
                reason="Opening balance",
            )
            for id in missing
        ]
        transfers.transfer_many(grants, is_locked=True)
    return len(missing)
