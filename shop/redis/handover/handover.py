"""Decides a batch of a hot row in the process that leads the row, which joins it with the batches of others.

A row that many processes want is locked by one of them at a time, each for a whole commit. The batches that
they gather meanwhile are handed over to one process, which decides all of them in one transaction.

The database alone decides, as ever. A batch that got no reply may have been decided, or may still be, so this
process decides it again by itself: an account's coupon, and what is recorded under a key, are found there. A
refusal in that second decision is not certain, because the leader might still do what was refused: it becomes
`Unavailable`, and a repeat finds out. A leader does nothing for a batch any more whose time is over.
"""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from django.conf import settings
from django.db import IntegrityError, connection
from prometheus_client import Counter
from redis import Redis
from structlog import get_logger

from shop import clock
from shop.concurrency import thread_budget
from shop.concurrency.group_commit import Batcher
from shop.errors import FirstcomeError, Overloaded, Unavailable
from shop.lazy_texts import mark as _
from shop.redis import redis_client
from shop.redis.handover import leadership, messages, serving
from shop.redis.handover.messages import HandedOver
from shop.redis.handover.recent import Recent
from shop.redis.handover.serving import HOT_SECONDS

log = get_logger(__name__)
FEWEST = 2
"""Requests of a batch that make its row hot. A single one is then handed over as well: decided where it is,
it would lock the row for a commit of its own."""
AVOID_SECONDS = 10.0
"""For so long nothing is handed over to a leader that didn't reply, or whose database doesn't."""
WAIT_SECONDS = 4.0
"""For a reply. Less than the wait of a request in a batcher, of which the second decision needs a part."""
POLL_SECONDS = 0.25
INBOX_SECONDS = 10
# Two processes that wait for each other's rows need a thread each to decide them.
WAITS = threading.BoundedSemaphore(max(1, thread_budget.PROCESS_SHARES.leading // 2))
HANDED_OVER = Counter(
    "firstcome_batches_handed_over",
    "Batches that were handed over to the process that leads their row, by what came of it.",
    ["batcher", "result"],
)
DECIDED, NO_REPLY = "decided", "no_reply"


class HandedOverRequest(Protocol):
    """A request, a dataclass, that may be decided by another process until that instant; None in its own."""

    @property
    def handed_over_until(self) -> datetime | None: ...


Request = TypeVar("Request", bound=HandedOverRequest)
Outcome = TypeVar("Outcome")
Decide = Callable[[Sequence[Request]], Sequence[Outcome | Exception]]


class Handover(Generic[Request, Outcome]):
    """The hand-over of batches of one kind, such as coupons, whose rows have numbers.

    `find_batcher` returns the batcher of a row for the requests of other processes. If that isn't the one
    that calls `decide`, `is_joined` has the leader enter its own requests there too, so that they share
    transactions.
    """

    def __init__(
        self, kind: str, find_batcher: Callable[[int], Batcher[Request, Outcome]], *, is_joined: bool = False
    ) -> None:
        self._kind = kind
        self._find_batcher = find_batcher
        self._is_joined = is_joined
        self._hot = Recent(HOT_SECONDS)
        self._avoided = Recent(AVOID_SECONDS)
        serving.register(kind, find_batcher)

    def decide(
        self, row: int, requests: Sequence[Request], *, locally: Decide[Request, Outcome]
    ) -> Sequence[Outcome | Exception]:
        """Decide the requests, which all want this row: by its leader, or by `locally`, in this process.

        `locally` must find what it did for a request before, as any decision of a batcher must.
        """
        leader = self.leader_of(row, requests)
        if leader and WAITS.acquire(blocking=False):
            try:
                if leader == leadership.own_inbox():
                    return self._join(row, requests)
                return self._hand_over(leader, row, requests, locally)
            finally:
                WAITS.release()
        return decide_here(requests, locally=locally)

    def leader_of(self, row: int, requests: Sequence[Request]) -> str | None:
        """The process to hand these requests over to, or to join if that is this one; None to do neither."""
        if (
            not settings.HAND_OVER_BATCHES
            or connection.in_atomic_block
            or any(request.handed_over_until for request in requests)
            or not self._is_hot(row, len(requests))
        ):
            return None
        leader = self._ask_for_leader(row)
        if leader != leadership.own_inbox():
            return None if leader in self._avoided else leader
        is_shared = self._is_joined and serving.row_name(self._kind, row) in serving.SERVED
        return leader if is_shared else None

    def _is_hot(self, row: int, count: int) -> bool:
        if count >= FEWEST:
            self._hot.note(row)
        return row in self._hot

    def _join(self, row: int, requests: Sequence[Request]) -> Sequence[Outcome | Exception]:
        """Have the requests decided in the transactions of those that were handed over to this process."""
        batcher, outcomes = self._find_batcher(row), SimpleQueue[tuple[int, Outcome | Exception]]()

        def gather(index: int, outcome: Outcome | Exception) -> None:
            outcomes.put((index, outcome))

        for index, request in enumerate(requests):
            try:
                batcher.enter(request, partial(gather, index))
            except Overloaded as error:
                gather(index, error)
        found = dict(outcomes.get() for _ in requests)
        return [found[index] for index in range(len(requests))]

    def _hand_over(
        self, leader: str, row: int, requests: Sequence[Request], locally: Decide[Request, Outcome]
    ) -> Sequence[Outcome | Exception]:
        """Have the leader decide the requests; decide them here if it doesn't reply."""
        reply_to = f"firstcome:handover:reply:{secrets.token_hex(16)}"
        until = clock.now() + timedelta(seconds=WAIT_SECONDS)
        marked = [replace(request, handed_over_until=until) for request in requests]  # type: ignore[type-var]
        message = messages.pack(leader, HandedOver(self._kind, row, reply_to, marked))
        if not redis_client.attempt(lambda client: _push(client, leader, message), otherwise=False):
            # Also when the reply of Redis was lost, so the leader may have it.
            return self._decide_again(requests, locally)
        outcomes = self._await_reply(leader, row, reply_to)
        is_whole = isinstance(outcomes, list) and len(outcomes) == len(requests)
        if not is_whole or all(isinstance(outcome, Unavailable) for outcome in outcomes):
            self._avoided.note(leader)
            return self._decide_again(requests, locally)
        HANDED_OVER.labels(self._kind, DECIDED).inc()
        return outcomes

    def _await_reply(self, leader: str, row: int, reply_to: str) -> Any:
        """The outcomes; None once there is nothing to wait for any more."""
        ends_at = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ends_at:
            reply: Any = redis_client.attempt(
                lambda client: client.blpop([reply_to], POLL_SECONDS) or (), otherwise=None
            )
            if reply is None:
                return None
            if reply:
                return messages.unpack(reply_to, reply[1])
            if self._ask_for_leader(row) != leader:
                return None
        return None

    def _ask_for_leader(self, row: int) -> str | None:
        """The row's leader; if that is this process, it serves the others from now on."""
        leader = leadership.leader_of(serving.row_name(self._kind, row))
        if leader == leadership.own_inbox():
            serving.start()
        return leader

    def _decide_again(
        self, requests: Sequence[Request], locally: Decide[Request, Outcome]
    ) -> Sequence[Outcome | Exception]:
        HANDED_OVER.labels(self._kind, NO_REPLY).inc()
        log.warning("a batch that was handed over got no reply: it is decided here", requests=len(requests))
        try:
            outcomes = locally(requests)
        except Unavailable as error:
            outcomes = [error] * len(requests)
        except IntegrityError:
            # One request is the cause, or the leader has decided some of them meanwhile.
            outcomes = [_decide_alone(request, locally) for request in requests]
        return [_uncertain(outcome) for outcome in outcomes]


def _push(client: Redis, inbox: str, message: bytes) -> bool:
    with client.pipeline(transaction=False) as pipeline:
        pipeline.rpush(inbox, message)
        pipeline.expire(inbox, INBOX_SECONDS)
        pipeline.execute()
    return True


def _decide_alone(request: Request, locally: Decide[Request, Outcome]) -> Outcome | Exception:
    try:
        return locally([request])[0]
    except Exception as error:
        return error


def decide_here(
    requests: Sequence[Request], *, locally: Decide[Request, Outcome]
) -> Sequence[Outcome | Exception]:
    """Decide the requests in this process; nothing is done for those of others that no longer wait."""
    if not any(request.handed_over_until for request in requests):
        return locally(requests)
    now = clock.now()
    waiting = [not request.handed_over_until or now < request.handed_over_until for request in requests]
    in_time = [request for request, is_waiting in zip(requests, waiting, strict=True) if is_waiting]
    outcomes = iter(locally(in_time) if in_time else ())
    return [next(outcomes) if is_waiting else _late_error() for is_waiting in waiting]


def _uncertain(outcome: Any) -> Any:
    """The outcome of a request that another process may still decide: an effect is certain, a refusal not."""
    if isinstance(outcome, FirstcomeError):
        return Unavailable(_("The outcome is not known yet; try again with the same key or account."))
    return outcome


def _late_error() -> Overloaded:
    return Overloaded(_("The request waited too long in the queue; nothing was done."))
