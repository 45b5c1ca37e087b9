"""API calls that start a payment: what bounds them, and how they wait for the payment's result."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseFailure
from structlog import get_logger

from orders import schemas, selectors, tasks
from orders.payment.card_limits import Payer
from orders.payment.charging import StartedPayment
from orders.saga import status as saga_status
from orders.schemas import CurrentAnswer
from payments import payment_states
from payments.models import Payment
from shop.account import Account
from shop.concurrency.batching import Batcher
from shop.concurrency.event_loop import run_in_thread, submit_to_batcher
from shop.errors import Overloaded, Throttled, Unavailable
from shop.http import keyed_calls, prefer
from shop.http.views import JSONResponse, Request
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall, Replay
from shop.lazy_texts import mark as _
from shop.observability import tracing
from shop.operations import dispatch
from shop.rates.rate_limits import RateLimit
from shop.redis import completion_notifications

log = get_logger(__name__)
# How long a worker takes to lease a payment and record its first attempt, besides the gateway call itself.
ATTEMPT_SECONDS = 2.0
ReadAnswers = Callable[[Sequence[UUID], str], Mapping[UUID, CurrentAnswer]]
"""Reads the current answers for these orders or payments, in a language."""
AnswerRequest = tuple[KeyedCall, UUID, ReadAnswers]


async def pay(
    request: Request,
    call: KeyedCall,
    limit: RateLimit,
    start: Callable[[], StartedPayment | Replay],
    *,
    event: str,
    is_attempted: Callable[[UUID], bool] | None = None,
) -> JSONResponse:
    """Start a payment once for its key, and respond with it: after a wait, as the client prefers.

    Without a preference the call waits until the payment `is_attempted`, if that is given.
    """

    async def start_in_thread() -> Any:
        await wait_for_capacity(call)
        return await keyed_calls.run_claimed_in_thread(call, start)

    outcome = await perform_rate_limited(request, call, limit, start_in_thread)
    if isinstance(outcome, Replay):
        return await respond_to_replay(request, call, outcome, read_payment_answers)
    payment: Payment = outcome.payment
    note(event, payment.order_id, outcome.saga.id)
    answer = schemas.payment_answer(payment, call.language).answer
    return await wait_and_respond(
        request, call, payment.id, read_payment_answers, answer, is_attempted=is_attempted
    )


async def wait_for_capacity(call: KeyedCall) -> None:
    """Delay a call that starts a payment while the workers are behind; a repeated call starts none."""
    if await saga_status.gate.is_behind() and await keyed_calls.find_replay(call) is None:
        await saga_status.gate.wait_for_capacity()


async def perform_rate_limited(
    request: Request, call: KeyedCall, limit: RateLimit, work: Callable[[], Awaitable[Any]]
) -> Any:
    """`keyed_calls.perform`, counted against the account's rate limit; staff and repeats are not counted.

    Only the call that does the work for its key is counted. Raises `Throttled` when the account made too many
    of these calls; a repeated call gets its recorded answer all the same.
    """

    async def counted() -> Any:
        if request.user.is_staff:
            return await work()
        with limit.counting(call.account_id) as counting:
            counting.outcome = await work()
        return counting.outcome

    try:
        return await keyed_calls.perform(call, counted)
    except Throttled:
        if replay := await keyed_calls.find_replay(call):
            return replay
        raise


def payer_of(request: Request, call: KeyedCall, token: str | None) -> Payer | None:
    """Whose declined payments limit a call that charges this card; None without a card, and for staff."""
    if not token or request.user.is_staff:
        return None
    key = request.user.key if isinstance(request.user, Account) else None
    return Payer(call.account_id, key.id if key else None)


def read_order_answers(order_ids: Sequence[UUID], language: str) -> dict[UUID, CurrentAnswer]:
    # First the orders: one that is settled in between is then only shown as not settled.
    found = selectors.read_orders(order_ids)
    payments = payment_states.payments_of(order_ids)
    return {
        order.id: schemas.order_answer(order, lines, payments[order.id], language) for order, lines in found
    }


def read_payment_answers(payment_ids: Sequence[UUID], language: str) -> dict[UUID, CurrentAnswer]:
    payments = Payment.objects.filter(id__in=payment_ids)
    return {payment.id: schemas.payment_answer(payment, language) for payment in payments}


def note(event: str, order_id: UUID | None, saga_id: UUID | None) -> None:
    """Log what this request has started, and record it in its trace: the ids of all that follows."""
    ids = {key: str(value) for key, value in (("order", order_id), ("saga", saga_id)) if value}
    log.info(event, **ids)
    if tracing.is_on:
        tracing.annotate(tracing.attributes(ids))


async def respond_to_replay(
    request: Request, call: KeyedCall, replay: Replay, read: ReadAnswers
) -> JSONResponse:
    """Respond with the recorded answer, or wait for the result of the payment that the first call started."""
    if replay.answer:
        return keyed_calls.respond(replay.answer, is_replay=True)
    assert replay.reference
    return await wait_and_respond(request, call, replay.reference, read)


async def wait_and_respond(
    request: Request,
    call: KeyedCall,
    subject_id: UUID,
    read: ReadAnswers,
    first_answer: Answer | None = None,
    *,
    is_attempted: Callable[[UUID], bool] | None = None,
) -> JSONResponse:
    """Wait for a payment's result, as the client prefers or else until it `is_attempted`, and respond.

    A call that started the payment gives the `first_answer`, and has a worker continue it. It is never
    answered 503, which would say that nothing was done. A repeat has no first answer.
    """
    seconds: float | None = prefer.wait_seconds(request.header("Prefer"))
    if seconds is not None:
        is_attempted = None
    elif is_attempted:
        seconds = settings.GATEWAY_TIMEOUT_SECONDS + ATTEMPT_SECONDS
    begin = partial(dispatch.enqueue_shared, tasks.advance) if first_answer else None
    answer = first_answer
    try:
        current = await wait_for_answer(
            call, subject_id, read, seconds=seconds or 0, begin=begin, is_attempted=is_attempted
        )
        answer = current or answer
    except (DatabaseFailure, Unavailable) as error:
        if first_answer is None:
            if isinstance(error, Overloaded):
                # `Overloaded` would say that nothing was done.
                text = _("This call was started before; its result can't be read now. Repeat it.")
                raise Unavailable(text) from error
            raise
        log.warning(
            "the status of a started payment can't be read", subject=str(subject_id), error=str(error)
        )
    assert answer
    return keyed_calls.respond(answer, is_replay=first_answer is None)


async def wait_for_answer(
    call: KeyedCall,
    subject_id: UUID,
    read: ReadAnswers,
    *,
    seconds: float,
    begin: Callable[[], None] | None = None,
    is_attempted: Callable[[UUID], bool] | None = None,
) -> Answer | None:
    """The current answer, after a wait of at most `seconds`; a settled answer is recorded for good.

    The wait ends as soon as the card's owner must act, because the caller has to send them, and with
    `is_attempted` once that is true. `begin` enqueues the saga. None if the answer was not read: `seconds` is
    0, or too many requests wait.
    """
    answers: list[CurrentAnswer] = []

    async def is_over() -> bool:
        # Read first, so that the answer shows at least that attempt.
        is_enough = is_attempted is not None and await run_in_thread(is_attempted, subject_id)
        answers.append(await submit_to_batcher(_batcher, (call, subject_id, read)))
        return is_enough or answers[-1].is_settled or answers[-1].is_for_customer

    if seconds:
        await completion_notifications.wait(
            str(subject_id), is_settled=is_over, seconds=seconds, begin=begin, owner=call.account_id
        )
    elif begin:
        begin()
    else:
        await is_over()
    return answers[-1].answer if answers else None


def _read_answers(requests: Sequence[AnswerRequest]) -> list[CurrentAnswer]:
    """One answer per request; final ones are recorded under their keys, in the language of the request."""
    groups: dict[tuple[ReadAnswers, str], list[UUID]] = {}
    for call, subject_id, read in requests:
        groups.setdefault((read, call.language), []).append(subject_id)
    found = {group: group[0](subject_ids, group[1]) for group, subject_ids in groups.items()}
    answers = [found[read, call.language][subject_id] for call, subject_id, read in requests]
    settled = {
        call.name: (call, current.answer)
        for (call, *_rest), current in zip(requests, answers, strict=True)
        if current.is_settled
    }
    recorded = dict(zip(settled, recorded_answers.record_settled_answers([*settled.values()]), strict=True))
    return [
        CurrentAnswer(recorded[call.name]) if call.name in recorded else current
        for (call, *_rest), current in zip(requests, answers, strict=True)
    ]


# Requests are woken together, by the batch that settles their payments.
_batcher: Batcher[AnswerRequest, CurrentAnswer] = Batcher(
    _read_answers, name="payment_status", linger_seconds=0.005
)
