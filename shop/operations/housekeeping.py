"""Deletion of rows that are no longer needed, such as idempotency keys and marks of transactions."""

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

    An error in one sweep doesn't stop the others; the first error is raised at the end.
    """
    deleted, errors = 0, list[Exception]()
    for sweep_rows in (
        recorded_answers.delete_expired_keys,
        tokens.delete_expired_tokens,
        sign_outs.delete_expired_sessions,
        commit_marks.sweep,
        reading.delete_old,
        deliveries.delete_old,
        endpoints.forget_former_secrets,
    ):
        try:
            deleted += sweep_rows()
        except Exception as error:
            log.exception("not swept", what=sweep_rows.__module__)
            errors.append(error)
    if errors:
        raise errors[0]
    return deleted
