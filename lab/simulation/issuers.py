"""The issuers of a simulated run, and the points at which coupons wait for Redis or a partner."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from coupons import gate, pool_list
from coupons.queue import stream, worker
from shop.concurrency import thread_pool

T = TypeVar("T")
R = TypeVar("R")
MOST_TICKETS = 4
"""Few, so that other processes work between two batches of a queue."""
WAITS: tuple[tuple[Any, str], ...] = (
    (gate, "admit"),
    (pool_list, "claim_code"),
    (pool_list, "resolve_code"),
    (stream, "enqueue"),
    (stream, "read"),
    (stream, "remove"),
)
"""Calls of Redis that a request or an issuer makes without a lock: after each, others may run."""
USUAL = {(module, name): getattr(module, name) for module, name in WAITS}


class InOneThread:
    """In the place of a pool of threads: makes its calls one after the other."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """It has no threads."""

    def __enter__(self) -> "InOneThread":
        return self

    def __exit__(self, *_: object) -> None:
        """Everything has been done."""

    def map(self, work: Callable[..., R], *arguments: Iterable[Any]) -> Iterator[R]:
        return map(work, *arguments)


def settle_queues(issuer: str) -> None:
    """Settle one batch of each queue that has no other issuer."""
    for campaign_id, most in worker._batch_sizes().items():
        with suppress(stream.LeaseTaken, stream.StreamLost, worker.NoTicketSettled):
            worker._settle_batch(campaign_id, issuer=issuer, most=min(most, MOST_TICKETS))


def join(let_others_run: Callable[[], None]) -> None:
    """Have coupons wait at `WAITS` by this function, and call partners without threads."""
    setattr(thread_pool, "ThreadPoolExecutor", InOneThread)  # noqa: B010 - mypy takes it for a type
    for module, name in WAITS:
        setattr(module, name, _waiting(USUAL[module, name], let_others_run))


def _waiting(call: Callable[..., T], let_others_run: Callable[[], None]) -> Callable[..., T]:
    def called(*arguments: Any, **named: Any) -> T:
        result = call(*arguments, **named)
        let_others_run()
        return result

    return called
