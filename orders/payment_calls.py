"""API calls that start a payment: what bounds them, and how they wait for the payment's result."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseFailure
from structlog import get_logger

from foundation.account import Account
from foundation.concurrency.batching import Batcher
from foundation.concurrency.event_loop import run_in_thread, submit_to_batcher
from foundation.errors import Overloaded, Throttled, Unavailable
from foundation.grouping import grouped
from foundation.http import keyed_calls, prefer
from foundation.http.messages import with_request_id
from foundation.http.views import JSONResponse, Request
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Answer, KeyedCall, Replay
from foundation.lazy_texts import mark as _
from foundation.observability import tracing
from foundation.operations import dispatch
from foundation.rates.rate_limits import RateLimit
from foundation.redis import completion_notifications
from orders import schemas, selectors, tasks
from orders.payment.card_limits import Payer
from orders.payment.charging import StartedPayment
from orders.placement.decisions import PlacedOrder
from orders.saga import run, status as saga_status
from orders.schemas import CurrentAnswer
from payments import payment_states
from payments.models import Payment

log = get_logger(__name__)
# How long a worker takes to lease a payment and record its first attempt, besides the gateway call itself.
ATTEMPT_SECONDS = 2.0
ReadAnswers = Callable[[Sequence[UUID], str], Mapping[UUID, CurrentAnswer]]
"""Reads the current answers for these orders or payments, in a language."""


class Pending(NamedTuple):
    """A payment that a call has started: what the call is answered until there is a result, and the saga if
    this process advances it.
    """

    answer: Answer
    saga_id: UUID | None


AnswerRequest = tuple[KeyedCall, UUID, ReadAnswers]


async def perform(
    request: Request,
    call: KeyedCall,
    limit: RateLimit,
    work: Callable[[], Awaitable[PlacedOrder | StartedPayment | Replay]],
    read: ReadAnswers,
    *,
    event: str,
    is_payment: bool = True,
    is_attempted: Callable[[UUID], bool] | None = None,
) -> JSONResponse:
    """Do the work once for its key, and respond: with a payment's result after a wait, as the client prefers.

    Without a preference the call waits until the payment `is_attempted`, if that is given. Calls are counted
    against the account's rate limit, but those of staff, and repeats, which get their recorded answer past
    the limit too. A call that `is_payment` is held while the workers are behind; a repeat starts none.
    """

    async def work_within_limits() -> Any:
        with limit.counting(call.account_id, is_free=request.user.is_staff) as counting:
            if is_payment and await saga_status.gate.is_behind() and not await keyed_calls.find_replay(call):
                await saga_status.gate.wait_for_capacity()
            counting.outcome = await work()
        return counting.outcome

    # What was placed, and its rows, are not kept in memory by the wait.
    outcome = _started_by(await _find_or_perform(call, work_within_limits), call, event)
    if isinstance(outcome, JSONResponse):
        return outcome
    subject_id, started = outcome
    return await wait_and_respond(request, call, subject_id, read, started, is_attempted)


async def _find_or_perform(call: KeyedCall, work: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await keyed_calls.perform(call, work)
    except Throttled:
        if replay := await keyed_calls.find_replay(call):
            return replay
        raise


def _started_by(
    outcome: PlacedOrder | StartedPayment | Replay, call: KeyedCall, event: str
) -> JSONResponse | tuple[UUID, Pending | None]:
    """The response, or what the call waits for, and what it has started."""
    if isinstance(outcome, Replay):
        if outcome.answer:
            return keyed_calls.respond(outcome.answer, is_replay=True)
        assert outcome.reference
        return outcome.reference, None
    if isinstance(outcome, StartedPayment):
        note(event, outcome.payment.order_id, outcome.saga.id)
        answer = schemas.payment_answer(outcome.payment, call.language).answer
        return outcome.payment.id, _pending(answer, outcome)
    order = outcome.order
    started = outcome.started
    note(event, order.id, started.saga.id if started else None)
    if started is None:
        assert outcome.answer
        return keyed_calls.respond(outcome.answer, is_replay=False)
    answer = schemas.order_answer(order, outcome.lines, [started.payment], call.language).answer
    return order.id, _pending(answer, started)


def _pending(answer: Answer, payment: StartedPayment) -> Pending:
    return Pending(answer, payment.saga.id if payment.saga.lease_token else None)


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


async def wait_and_respond(
    request: Request,
    call: KeyedCall,
    subject_id: UUID,
    read: ReadAnswers,
    started: Pending | None = None,
    is_attempted: Callable[[UUID], bool] | None = None,
) -> JSONResponse:
    """Wait for a payment's result, as the client prefers or else until it `is_attempted`, and respond; a
    settled answer is recorded for good.

    The wait ends as soon as the card's owner must act, because the caller has to send them. A call that
    has `started` the payment has a worker continue it, unless this process does. It is never answered 503,
    which would say that nothing was done.
    """
    answers: list[CurrentAnswer] = []
    seconds: float | None = prefer.wait_seconds(request.header("Prefer"))
    is_enough = is_attempted if seconds is None and started else None
    if is_enough:
        seconds = settings.GATEWAY_TIMEOUT_SECONDS + ATTEMPT_SECONDS

    async def is_over() -> bool:
        # Read first, so that the answer shows at least that attempt.
        is_tried = is_enough is not None and await run_in_thread(is_enough, subject_id)
        answers.append(await submit_to_batcher(_batcher, (call, subject_id, read)))
        return is_tried or answers[-1].is_settled or answers[-1].is_for_customer

    begin = partial(_continue, started.saga_id) if started else None
    try:
        if seconds:
            await completion_notifications.wait(
                str(subject_id), is_settled=is_over, seconds=seconds, begin=begin, owner=call.account_id
            )
        elif begin:
            begin()
        else:
            await is_over()
    except (DatabaseFailure, Unavailable) as error:
        if started is None:
            if isinstance(error, Overloaded):
                # `Overloaded` would say that nothing was done.
                text = _("This call was started before; its result can't be read now. Repeat it.")
                raise Unavailable(text) from error
            raise
        log.warning("the status of a started payment can't be read", subject=subject_id, error=error)
    answer = answers[-1].answer if answers else started and started.answer
    assert answer
    return keyed_calls.respond(answer, is_replay=started is None)


def _continue(saga_id: UUID | None) -> bool:
    """Have a worker continue what was started, unless this process does. Returns whether that may be over."""
    if saga_id:
        return not run.process_executor().has(saga_id)
    dispatch.enqueue_shared(tasks.advance)
    return False


def _read_answers(requests: Sequence[AnswerRequest]) -> list[CurrentAnswer]:
    """One answer per request; final ones are recorded under their keys, in the language of the request."""
    groups = grouped(((read, call.language), subject_id) for call, subject_id, read in requests)
    found = {(read, language): read(ids, language) for (read, language), ids in groups.items()}
    answers = [found[read, call.language][subject_id] for call, subject_id, read in requests]
    settled = {
        call.name: (call, _named(current.answer, call))
        for (call, *_rest), current in zip(requests, answers, strict=True)
        if current.is_settled
    }
    recorded = dict(zip(settled, recorded_answers.record_settled_answers([*settled.values()]), strict=True))
    return [
        CurrentAnswer(recorded[call.name]) if call.name in recorded else current
        for (call, *_rest), current in zip(requests, answers, strict=True)
    ]


def _named(answer: Answer, call: KeyedCall) -> Answer:
    """The answer as it is recorded: a problem names the request, also when it is replayed."""
    if answer.status < 400:
        return answer
    return answer._replace(body=with_request_id(answer.body, call.request_id))


# Requests are woken together, by the batch that settles their payments.
_batcher: Batcher[AnswerRequest, CurrentAnswer] = Batcher(
    _read_answers, name="payment_status", linger_seconds=0.005
)
