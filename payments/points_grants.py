"""Points granted by staff, once for each idempotency key."""

from django.contrib.auth.models import User
from uuid_utils.compat import uuid7

from payments import ledger
from payments.models import Entry
from shop.errors import NotFound
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import KeyedCall, Replay
from shop.lazy_texts import mark as _


def grant(*, user_id: int, amount: int, reason: str, keyed: KeyedCall) -> Entry | Replay:
    """Grant the user points, and return the wallet's entry; a repeat of the key returns a `Replay`.

    Durable when it returns. Raises `NotFound` for a user that is unknown or disabled, and `KeyReused`.
    """
    ledger.open_wallet(user_id)
    reference = str(uuid7())

    def granted() -> Entry:
        if not User.objects.filter(id=user_id, is_active=True).exists():
            raise NotFound(_("There is no active account {user_id}.", user_id=user_id))
        return ledger.grant(user_id=user_id, amount=amount, reason=reason, reference=reference)

    return recorded_answers.run_once(keyed, granted)
