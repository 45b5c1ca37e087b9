"""Reads the status of payments for requests that wait; that of a settled one is recorded for its key."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shop.concurrency.event_loop import submit_to_batcher
from shop.concurrency.group_commit import Batcher
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall
from shop.redis import completion_notifications

UNSETTLED_STATUS = 202
"""The HTTP status of an answer that may still change."""


@dataclass(frozen=True, slots=True)
class CurrentAnswer:
    """The answer as things stand; `is_for_customer`: it doesn't settle before the card's owner has acted."""

    answer: Answer
    is_for_customer: bool = False

    @property
    def is_settled(self) -> bool:
        return self.answer.status != UNSETTLED_STATUS


ReadAnswers = Callable[[Sequence[UUID], str], Mapping[UUID, CurrentAnswer]]
"""Reads the current answers for these orders or payments, in a language."""
IsAttempted = Callable[[], Awaitable[bool]]
"""Whether the payment was attempted, for calls that an unsettled answer satisfies after an attempt."""


@dataclass(frozen=True, slots=True)
class _AnswerRequest:
    call: KeyedCall
    subject_id: UUID
    read: ReadAnswers


async def wait_for_answer(
    call: KeyedCall,
    subject_id: UUID,
    read: ReadAnswers,
    *,
    seconds: float,
    begin: Callable[[], None] | None = None,
    is_attempted: IsAttempted | None = None,
) -> Answer | None:
    """The current answer, after a wait of at most `seconds`; a settled answer is recorded for good.

    The wait ends as soon as the card's owner must act, because the caller has to send them. `begin` enqueues
    the saga. None if the answer was not read: `seconds` is 0, or too many requests wait.
    """
    answers: list[CurrentAnswer] = []

    async def is_over() -> bool:
        # Read first, so that the answer shows at least that attempt.
        is_enough = is_attempted is not None and await is_attempted()
        answers.append(await submit_to_batcher(_batcher, _AnswerRequest(call, subject_id, read)))
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


def _read_answers(requests: Sequence[_AnswerRequest]) -> list[CurrentAnswer]:
    """One answer per request; final ones are recorded under their keys, in the language of the request."""
    groups: dict[tuple[ReadAnswers, str], list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault((request.read, request.call.language), []).append(index)
    answers: dict[int, CurrentAnswer] = {}
    for (read, language), indexes in groups.items():
        found = read([requests[index].subject_id for index in indexes], language)
        answers |= {index: found[requests[index].subject_id] for index in indexes}
    settled = [
        (request.call, answers[index].answer)
        for index, request in enumerate(requests)
        if answers[index].is_settled
    ]
    recorded = {
        call.name: CurrentAnswer(answer)
        for (call, _), answer in zip(settled, recorded_answers.record_settled_answers(settled), strict=True)
    }
    return [recorded.get(request.call.name, answers[index]) for index, request in enumerate(requests)]


# Requests are woken together, by the batch that settles their payments.
_batcher: Batcher[_AnswerRequest, CurrentAnswer] = Batcher(
    _read_answers, name="payment_status", linger_seconds=0.002
)
