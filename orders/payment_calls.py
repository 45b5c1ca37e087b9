"""API calls that start a payment: what bounds them, and how they wait for the payment's result."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseFailure
from structlog import get_logger

from orders import schemas, selectors
from orders.payment import payment_status
from orders.payment.card_limits import Payer
from orders.payment.payment_status import CurrentAnswer, IsAttempted, ReadAnswers
from orders.saga import backlog
from payments import payment_states
from payments.models import Payment
from shop.accounts.authentication import Account
from shop.errors import Overloaded, Throttled, Unavailable
from shop.http import keyed_calls, prefer
from shop.http.views import Request, Response
from shop.idempotency.recorded_answers import Answer, KeyedCall, Replay
from shop.lazy_texts import mark as _
from shop.rates.rate_limits import RateLimit

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PaymentInProgress:
    """A call whose payment is recorded, with all its response needs: a waiting request keeps nothing else."""

    call: KeyedCall
    subject_id: UUID
    read: ReadAnswers
    answer: Answer
    begin: Callable[[], None]
    seconds: float
    is_attempted: IsAttempted | None = None


async def wait_for_capacity(call: KeyedCall) -> None:
    """Delay a call that starts a payment while the workers are behind; a repeated call starts none."""
    if await backlog.gate.is_behind() and await keyed_calls.find_replay(call) is None:
        await backlog.gate.wait_for_capacity()


async def perform_rate_limited(
    request: Request,
    call: KeyedCall,
    limit: RateLimit,
    work: Callable[[], Awaitable[Any]],
) -> Any:
    """`keyed_calls.perform`, counted against the account's rate limit; staff and repeats are not counted.

    Only the call that does the work for its key is counted. Raises `Throttled` when the account made too many
    of these calls; a repeated call gets its recorded answer all the same.
    """
    if request.user.is_staff:
        return await keyed_calls.perform(call, work)

    async def counted() -> Any:
        with limit.counting(call.account_id) as counting:
            counting.outcome = await work()
        return counting.outcome

    try:
        return await keyed_calls.perform(call, counted)
    except Throttled:
        replay = await keyed_calls.find_replay(call)
        if replay is None:
            raise
        return replay


def payer_of(request: Request, call: KeyedCall, token: str | None) -> Payer | None:
    """Whose declined payments limit a call that charges this card; None without a card, and for staff."""
    if not token or request.user.is_staff:
        return None
    key = request.user.key if isinstance(request.user, Account) else None
    return Payer(call.account_id, key.id if key else None)


def read_order_answers(order_ids: Sequence[UUID], language: str) -> dict[UUID, CurrentAnswer]:
    """The answers, by their ids, of calls that paid these orders as they were placed."""
    found = selectors.read_orders(order_ids)
    payments = payment_states.payments_of(order_ids)
    return {
        order.id: schemas.order_answer(order, lines, payments[order.id], language) for order, lines in found
    }


def read_payment_answers(payment_ids: Sequence[UUID], language: str) -> dict[UUID, CurrentAnswer]:
    """The answers, by their ids, of calls that started these payments."""
    payments = Payment.objects.filter(id__in=payment_ids)
    return {payment.id: schemas.payment_answer(payment, language) for payment in payments}


async def respond_to_replay(request: Request, call: KeyedCall, replay: Replay, read: ReadAnswers) -> Response:
    """Respond with the recorded answer, or wait for the result of the payment that the first call started."""
    if replay.answer:
        return keyed_calls.respond(replay.answer, is_replay=True)
    assert replay.reference
    try:
        answer = await payment_status.wait_for_answer(
            call, replay.reference, read, seconds=preferred_seconds(request) or 0
        )
    except Overloaded as error:
        # `Overloaded` would say that nothing was done.
        raise Unavailable(
            _("This call was started before; its result can't be read now. Repeat it.")
        ) from error
    assert answer
    return keyed_calls.respond(answer, is_replay=True)


def preferred_seconds(request: Request) -> int | None:
    """How long the client would wait, by its `Prefer` header."""
    return prefer.wait_seconds(request.header("Prefer"))


async def wait_and_respond(started: Response | PaymentInProgress) -> Response:
    """Enqueue a started payment for a worker, wait for its result, and respond with that or the first answer.

    Never 503, which would say that nothing was done: the payment is recorded and continues.
    """
    if isinstance(started, Response):
        return started
    try:
        answer = await payment_status.wait_for_answer(
            started.call,
            started.subject_id,
            started.read,
            seconds=started.seconds,
            begin=started.begin,
            is_attempted=started.is_attempted,
        )
    except (DatabaseFailure, Unavailable) as error:
        log.warning(
            "the status of a started payment can't be read", subject=str(started.subject_id), error=str(error)
        )
        answer = None
    return keyed_calls.respond(answer or started.answer, is_replay=False)
