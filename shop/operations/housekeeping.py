"""Deletion of rows that are no longer needed, such as idempotency keys and marks of transactions."""

from collections.abc import Callable, Iterable

from structlog import get_logger

from shop.accounts import sign_outs, tokens
from shop.db import commit_marks
from shop.event_feed import reading
from shop.idempotency import recorded_answers
from shop.webhook_endpoints import deliveries, endpoints

log = get_logger(__name__)


def sweep() -> int:
    """Delete old idempotency keys, tokens, sessions, marks, events, webhooks and their secrets.

    Returns how many.
    """
    return run_each(
        (
            recorded_answers.delete_expired_keys,
            tokens.delete_expired_tokens,
            sign_outs.delete_expired_sessions,
            commit_marks.sweep,
            reading.delete_old,
            deliveries.delete_old,
            endpoints.forget_former_secrets,
        )
    )


def run_each(sweepers: Iterable[Callable[[], int]]) -> int:
    """Run each, also after one that fails. Returns the sum; raises the first error at the end."""
    swept, errors = 0, list[Exception]()
    for sweeper in sweepers:
        try:
            swept += sweeper()
        except Exception as error:
            log.exception("not swept", what=sweeper.__module__)
            errors.append(error)
    if errors:
        raise errors[0]
    return swept
