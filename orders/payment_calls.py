"""API calls that start a payment, in four phases: claim the key, decide, wait for the result, answer.

The claim's winner decides within the limits of its account; a repeat finds what was recorded. Then both wait,
as the client prefers, and are answered by what the database says by then.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
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
from foundation.http import keyed_calls, preferences
from foundation.http.messages import with_request_id
from foundation.http.views import JSONResponse, Request
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Answer, KeyedCall, Replay
from foundation.lazy_texts import mark
from foundation.observability import tracing
from foundation.operations import dispatch
from foundation.rates.rate_limits import RateLimit
from foundation.redis import completion_notifications
from orders import schemas, selectors, tasks
from orders.limits import Payer
from orders.payment.charging import StartedPayment
from orders.placement.decisions import PlacedOrder
from orders.saga import backlog, run
from orders.schemas import CurrentAnswer
from payments import rows
from payments.models import Payment

log = get_logger(__name__)
# How long a worker takes to lease a payment and record its first attempt, besides the gateway call itself.
ATTEMPT_SECONDS = 2.0
IsAttempted = Callable[[UUID], bool]
"""Whether a payment was attempted, or has settled."""
ReadAnswers = Callable[[Sequence[UUID], str], Mapping[UUID, CurrentAnswer]]
"""Reads the current answers for these orders or payments, in a language."""


class Begun(NamedTuple):
    """What a call waits for: an order or a payment. If the call has started its payment, it has an `answer`
    until there is a result, and the saga if this process advances it; a repeat has neither.
    """

    subject_id: UUID
    answer: Answer | None = None
    saga_id: UUID | None = None


class AnswerRequest(NamedTuple):
    call: KeyedCall
    subject_id: UUID
    read: ReadAnswers


async def perform(
    request: Request,
    call: KeyedCall,
    limit: RateLimit,
    work: Callable[[], Awaitable[PlacedOrder | StartedPayment | Replay]],
    read: ReadAnswers,
    *,
    event: str,
    is_payment: bool = True,
    is_attempted: IsAttempted | None = None,
) -> JSONResponse:
    """Do the work once for its key, and respond: with a payment's result after a wait, as the client prefers.

    Without a preference the call waits until the payment `is_attempted`, if that is given. Calls are counted
    against the account's rate limit, but those of staff, and repeats, which get their recorded answer past
    the limit too. A call that `is_payment` is held while the workers are behind; a repeat starts none.
    """
    decide = partial(_decide, call, limit, work, is_free=request.user.is_staff, is_payment=is_payment)
    # What was placed, and its rows, are not kept in memory by the wait.
    begun = _begin(await _claim(call, decide), call, event)
    if isinstance(begun, JSONResponse):
        return begun
    return await _wait(request, call, begun, read, is_attempted)


async def _claim(call: KeyedCall, decide: Callable[[], Awaitable[Any]]) -> Any:
    """The outcome of the one call with this key that decides, or what is recorded of it."""
    try:
        return await keyed_calls.perform(call, decide)
    except Throttled:
        if replay := await keyed_calls.find_replay(call):
            return replay
        raise


async def _decide(
    call: KeyedCall, limit: RateLimit, work: Callable[[], Awaitable[Any]], *, is_free: bool, is_payment: bool
) -> Any:
    """Do the work within the account's rate limit, and no faster than payments are settled."""
    with limit.counting(call.account_id, is_free=is_free) as counting:
        if is_payment and await backlog.back_pressure.is_behind() and not await keyed_calls.find_replay(call):
            await backlog.back_pressure.wait_for_capacity()
        counting.outcome = await work()
    return counting.outcome


def _begin(
    outcome: PlacedOrder | StartedPayment | Replay, call: KeyedCall, event: str
) -> JSONResponse | Begun:
    """The response to a call that waits for nothing, or what it waits for; logs what it has started."""
    if isinstance(outcome, Replay):
        if outcome.answer:
            return keyed_calls.respond(outcome.answer, is_replay=True)
        assert outcome.reference
        return Begun(outcome.reference)
    if isinstance(outcome, StartedPayment):
        started = outcome
        subject_id = started.payment.id
        answer = schemas.payment_answer(started.payment, call.language).answer
    elif outcome.started:
        started = outcome.started
        subject_id = outcome.order.id
        answer = schemas.order_answer(outcome.order, outcome.lines, [started.payment], call.language).answer
    else:
        note(event, outcome.order.id, None)
        assert outcome.answer
        return keyed_calls.respond(outcome.answer, is_replay=False)
    note(event, started.payment.order_id, started.saga.id)
    return Begun(subject_id, answer, started.saga.id if started.saga.lease_token else None)


async def _wait(
    request: Request,
    call: KeyedCall,
    begun: Begun,
    read: ReadAnswers,
    is_attempted: IsAttempted | None = None,
) -> JSONResponse:
    """Wait for a payment's result, as the client prefers or else until it `is_attempted`, and respond; a
    settled answer is recorded for good.

    A call that has started the payment has a worker continue it, unless this process does. It is never
    answered 503, which would say that nothing was done.
    """
    seconds: float | None = preferences.wait_seconds(request.header("Prefer"))
    if seconds is not None or begun.answer is None:
        is_attempted = None
    elif is_attempted:
        seconds = settings.GATEWAY_TIMEOUT_SECONDS + ATTEMPT_SECONDS
    begin = partial(_continue, begun.saga_id) if begun.answer else None
    reading = _Reading(AnswerRequest(call, begun.subject_id, read), is_attempted)
    try:
        if seconds:
            await completion_notifications.wait(
                str(begun.subject_id),
                is_settled=reading.is_over,
                seconds=seconds,
                begin=begin,
                owner=call.account_id,
            )
        elif begin:
            begin()
        else:
            await reading.is_over()
    except (DatabaseFailure, Unavailable) as error:
        if begun.answer is None:
            if isinstance(error, Overloaded):
                # `Overloaded` would say that nothing was done.
                text = mark("This call was started before; its result can't be read now. Repeat it.")
                raise Unavailable(text) from error
            raise
        log.warning("the status of a started payment can't be read", subject=begun.subject_id, error=error)
    answer = reading.latest.answer if reading.latest else begun.answer
    assert answer
    return keyed_calls.respond(answer, is_replay=begun.answer is None)


def _continue(saga_id: UUID | None) -> bool:
    """Have a worker continue what was started, unless this process does. Returns whether that may be over."""
    if saga_id:
        return not run.process_executor().has(saga_id)
    dispatch.enqueue_shared(tasks.advance)
    return False


@dataclass(slots=True)
class _Reading:
    """The answers that a call reads while it waits, of which the `latest` counts.

    The wait is over as soon as the card's owner must act, because the caller has to send them.
    """

    request: AnswerRequest
    is_attempted: IsAttempted | None
    latest: CurrentAnswer | None = None

    async def is_over(self) -> bool:
        # Read first, so that the answer shows at least that attempt.
        is_tried = False
        if self.is_attempted:
            is_tried = await run_in_thread(self.is_attempted, self.request.subject_id)
        self.latest = await submit_to_batcher(_batcher, self.request)
        return is_tried or self.latest.is_settled or self.latest.is_for_customer


def _answer(requests: Sequence[AnswerRequest]) -> list[CurrentAnswer]:
    """One answer per request; final ones are recorded under their keys, in the language of the request."""
    alike: dict[tuple[ReadAnswers, str], list[UUID]] = defaultdict(list)
    for call, subject_id, read in requests:
        alike[read, call.language].append(subject_id)
    found = {(read, language): read(ids, language) for (read, language), ids in alike.items()}
    answers: list[CurrentAnswer] = []
    settled: dict[tuple[int, str], tuple[KeyedCall, Answer]] = {}
    for call, subject_id, read in requests:
        current = found[read, call.language][subject_id]
        answers.append(current)
        if current.is_settled:
            settled[call.name] = (call, _named(current.answer, call))
    recorded = recorded_answers.record_settled_answers([*settled.values()])
    final = dict(zip(settled, map(CurrentAnswer, recorded), strict=True))
    return [final.get(request.call.name, current) for request, current in zip(requests, answers, strict=True)]


def _named(answer: Answer, call: KeyedCall) -> Answer:
    """The answer as it is recorded: a problem names the request, also when it is replayed."""
    if answer.status < 400:
        return answer
    return answer._replace(body=with_request_id(answer.body, call.request_id))


# Requests are woken together, by the batch that settles their payments.
_batcher: Batcher[AnswerRequest, CurrentAnswer] = Batcher(
    _answer, name="payment_status", linger_seconds=0.005
)


# What the calls of orders, payments and top-ups have each for themselves


def payer_of(request: Request, call: KeyedCall, token: str | None) -> Payer | None:
    """Whose declined payments limit a call that charges this card; None without a card, and for staff."""
    if not token or request.user.is_staff:
        return None
    key = request.user.key if isinstance(request.user, Account) else None
    return Payer(call.account_id, key.id if key else None)


def read_order_answers(order_ids: Sequence[UUID], language: str) -> dict[UUID, CurrentAnswer]:
    # First the orders: one that is settled in between is then only shown as not settled.
    found = selectors.read_orders(order_ids)
    payments = rows.payments_of(order_ids)
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
