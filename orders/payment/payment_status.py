"""Looking what became of payments: many who look at once share a transaction, and what has settled is fixed.

Who waits is woken when it has settled (`shop.redis.completion_notifications`), by the dozen as it settles by
the dozen.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shop.concurrency.event_loop import submit_to_batcher
from shop.concurrency.group_commit import Batcher
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall
from shop.redis import completion_notifications

UNSETTLED_STATUS = 202
"""The status of an answer that is not the last word."""
ReadAnswers = Callable[[Sequence[UUID]], Mapping[UUID, Answer]]
"""The answers about these orders, or payments, as they stand."""
EnqueueSaga = Callable[[], None]
"""Has a worker advance a payment."""
IsAttempted = Callable[[], Awaitable[bool]]
"""Whether the payment was attempted, where an answer that isn't settled is enough then."""


async def never_attempted() -> bool:
    """The default: only a settled answer ends the wait."""
    return False


@dataclass(frozen=True, slots=True)
class _AnswerRequest:
    """A call's look at what it has begun."""

    call: KeyedCall
    subject_id: UUID
    read: ReadAnswers


async def wait_for_answer(
    call: KeyedCall,
    subject_id: UUID,
    read: ReadAnswers,
    *,
    seconds: float,
    begin: EnqueueSaga | None = None,
    is_attempted: IsAttempted = never_attempted,
) -> Answer | None:
    """The answer as it stands, after a wait of at most so many seconds; once settled it is fixed for good.

    `begin` has a worker settle it. None where it was not read since, for there is no wait, or no room for one
    more request that waits.
    """
    answers: list[Answer] = []

    async def is_over() -> bool:
        # Asked first: the answer then shows at least that attempt.
        is_enough = await is_attempted()
        answers.append(await submit_to_batcher(_batcher, _AnswerRequest(call, subject_id, read)))
        return is_enough or answers[-1].status != UNSETTLED_STATUS

    if seconds:
        await completion_notifications.wait(
            str(subject_id), is_settled=is_over, seconds=seconds, begin=begin, owner=call.account_id
        )
    elif begin:
        begin()
    else:
        await is_over()
    return answers[-1] if answers else None


def _read_answers(requests: Sequence[_AnswerRequest]) -> list[Answer]:
    """The answer of each, with the settled ones fixed: the same few statements for any number."""
    answers: dict[UUID, Answer] = {}
    for read in dict.fromkeys(one.read for one in requests):
        answers |= read([one.subject_id for one in requests if one.read is read])
    settled = [
        (one.call, answers[one.subject_id])
        for one in requests
        if answers[one.subject_id].status != UNSETTLED_STATUS
    ]
    fixed = {
        call.name: answer
        for (call, _), answer in zip(settled, recorded_answers.record_settled_answers(settled), strict=True)
    }
    return [fixed.get(one.call.name, answers[one.subject_id]) for one in requests]


# Requests are woken together, by the batch that settles what they wait for.
LINGER_SECONDS = 0.002
_batcher: Batcher[_AnswerRequest, Answer] = Batcher(_read_answers, linger_seconds=LINGER_SECONDS)
