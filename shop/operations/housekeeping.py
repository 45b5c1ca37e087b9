"""What piles up at the edge, and is swept away once nobody needs it."""

from structlog import get_logger

from shop.accounts import tokens
from shop.db import commit_marks
from shop.idempotency import recorded_answers

log = get_logger(__name__)


def sweep() -> int:
    """Forget old idempotency keys, used refresh tokens and marks of transactions. Returns how many.

    Each is swept whatever becomes of the others; the first error is raised at the end.
    """
    gone, errors = 0, list[Exception]()
    for one in (recorded_answers, tokens, commit_marks):
        try:
            gone += one.sweep()
        except Exception as error:
            log.exception("not swept", what=one.__name__)
            errors.append(error)
    if errors:
        raise errors[0]
    return gone
