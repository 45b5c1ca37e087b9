"""Deletion of rows that are no longer needed, such as idempotency keys and marks of transactions."""

from collections.abc import Callable, Iterable

from structlog import get_logger

from foundation.db import commit_marks
from foundation.idempotency import recorded_answers

log = get_logger(__name__)
SWEEPERS: list[Callable[[], int]] = [recorded_answers.delete_expired_keys, commit_marks.sweep]
"""Each deletes what is no longer needed, and returns how many. Apps add theirs in their `ready`."""


def sweep() -> int:
    """Run all sweepers. Returns how many rows they deleted."""
    return run_each(SWEEPERS)


def run_each(sweepers: Iterable[Callable[[], int]]) -> int:
    """Run each, also after one that fails. Returns the sum; raises the first error at the end."""
    swept = 0
    errors = list[Exception]()
    for sweeper in sweepers:
        try:
            swept += sweeper()
        except Exception as error:
            log.exception("not swept", what=sweeper.__module__)
            errors.append(error)
    if errors:
        raise errors[0]
    return swept
