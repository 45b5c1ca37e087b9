"""Staff give points away: each keyed call once."""

from uuid_utils.compat import uuid7

from payments import ledger
from payments.models import Entry
from shop import idempotency
from shop.idempotency import Keyed, Replay


def grant(*, user_id: int, amount: int, reason: str, keyed: Keyed) -> Entry | Replay:
    """Give the user points, and return the wallet's entry; a repeat of the key gives a `Replay`.

    Durable when it returns. Raises `NotFound` for an unknown user, and `KeyReused`.
    """
    ledger.wallet_id(user_id)
    reference = str(uuid7())
    return idempotency.once(
        keyed,
        lambda: ledger.grant(user_id=user_id, amount=amount, reason=reason, reference=reference),
    )
