"""Topping up a wallet by card: charge the gateway, then credit the points."""

from collections.abc import Collection
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.utils import timezone
from structlog import get_logger

from orders import charging, saga
from orders.models import Saga
from orders.steps import KINDS, Kind, Local
from payments import ledger, paying
from payments.models import Payment
from shop import idempotency
from shop.errors import Unavailable
from shop.idempotency import Keyed, Replay

log = get_logger(__name__)
NAME = "top_up"


def top_up(*, account_id: int, amount: int, token: str, keyed: Keyed) -> Payment | Replay:
    """Charge the card and credit the wallet; what this can't finish now the sweeper does.

    The payment is durable before the gateway is called. Returns it as it stands: succeeded, failed, in
    doubt, or pending when the database went away; a repeat of the key gives a `Replay`. Raises `KeyReused`.
    """

    def begin() -> tuple[Payment, UUID]:
        payment = paying.start_top_up(account_id=account_id, amount=amount, token=token, at=timezone.now())
        row, lines = saga.new(
            kind=NAME, subject_id=payment.id, give_up_seconds=settings.PAYMENT_GIVE_UP_SECONDS
        )
        saga.begin([(row, lines)])
        return payment, row.id

    ledger.wallet_id(account_id)
    started = idempotency.once(keyed, begin, reference=lambda outcome: outcome[0].id)
    if isinstance(started, Replay):
        return started
    payment, saga_id = started
    try:
        saga.advance(saga_id)
        payment.refresh_from_db()
    except (DatabaseFailure, Unavailable) as error:
        # It has begun, and whatever became of it the sweeper finds out.
        log.warning("top-up left to the sweeper", payment=str(payment.id), error=str(error))
    return payment


def _lock(payment_ids: Collection[UUID]) -> None:
    list(Payment.objects.select_for_update().filter(id__in=payment_ids).order_by("id").values_list("id"))


def _credit_wallet(row: Saga) -> str:
    payment = Payment.objects.get(id=row.subject_id)
    ledger.credit_top_up(payment_id=payment.id, user_id=payment.account_id, amount=payment.card_amount)
    paying.mark_succeeded(payment.id, charge_reference=charging.charge_reference(row), at=timezone.now())
    return f"{payment.card_amount} points credited"


KINDS[NAME] = Kind(
    name=NAME,
    steps=(charging.STEP, Local("credit_wallet", do=_credit_wallet)),
    lock=_lock,
    compensated=charging.mark_ended,
    stuck=charging.mark_stuck,
)
