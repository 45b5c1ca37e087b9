"""Tops up a wallet by card: charges the card at the gateway, then credits the points."""

from uuid import UUID

from django.conf import settings

from foundation import clock
from foundation.errors import Rejected
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from orders.limits import Payer
from orders.models import Saga
from orders.payment import charging, rows as declined_rows
from orders.payment.charging import StartedPayment
from orders.saga import rows as saga_rows
from orders.saga.definitions import SAGA_TYPES, LocalStep, Sagas, SagaType
from payments import ledger, rows as payment_rows
from payments.models import Payment

KIND = "top_up"


def start(
    *, account_id: int, amount: int, token: str, keyed: KeyedCall, payer: Payer | None = None
) -> StartedPayment | Replay:
    """Start a top-up; its saga charges the card and credits the wallet.

    Durable when it returns; repeating the key gives a `Replay`. Raises `KeyReused`, and `Throttled` if the
    payer's cards were declined too often.
    """

    def begin() -> StartedPayment:
        charging.check_card_limits(declined_rows.lock_and_count_declines([payer]), payer)
        payment = payment_rows.new_payment(
            account_id=account_id,
            card_amount=amount,
            currency=settings.CURRENCY,
            token=token,
            at=clock.now(),
            api_key_id=payer.key_id if payer else None,
        )
        payment_rows.insert_payments([payment])
        saga, lines = saga_rows.new_saga(kind=KIND, subject_id=payment.id)
        saga_rows.insert_sagas([(saga, lines)])
        return StartedPayment(payment, saga, lines)

    ledger.open_wallet(account_id)
    return recorded_answers.run_once(keyed, begin, reference=lambda started: started.payment.id)


def is_attempted(payment_id: UUID) -> bool:
    """Whether the gateway was asked, or is known to be away, without a final result at that time."""
    return Saga.objects.filter(kind=KIND, subject_id=payment_id).exclude(last_error="").exists()


def _credit_wallets(sagas: Sagas) -> list[str | Rejected]:
    payments: list[Payment] = [saga.parent for saga in sagas]
    ledger.credit_top_ups(payments, by=[saga_rows.acting_for(saga) for saga in sagas], is_locked=True)
    charging.mark_paid(sagas, at=clock.now())
    return [f"{payment.card_amount} points credited" for payment in payments]


SAGA_TYPES[KIND] = SagaType(
    steps=(charging.STEP, LocalStep("credit_wallet", do=_credit_wallets)),
    lock=payment_rows.lock_payments,
    on_compensated=charging.mark_ended,
    notify=charging.notify,
    on_stuck=charging.mark_stuck,
)
