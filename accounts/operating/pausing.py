"""Pausing: an operator stops at once what is issued or sold, and resumes it later; for all apps.

Every transaction that issues or sells reads `paused_at` under the row's lock, has it as a condition of its
UPDATE, or requires the row's version, which a pause increments. So none commits after the pause has.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.db.models import Model

from foundation import clock, journal
from foundation.db import transactions
from foundation.db.rows import save_changes
from foundation.reasons import check_reason

Row = TypeVar("Row", bound=Model)


def set_paused(
    lock: Callable[[], Row],
    kind: str,
    *,
    is_paused: bool,
    reason: str | None,
    prepare: Callable[[Row], None] = lambda row: None,
) -> Row:
    """Pause or resume the row of this kind that `lock` locks, and note it in the journal; durable on return.

    A row that is so already stays as it is. `prepare` is called under the lock, before the row is written.
    With None as the reason it is given later, by `explain`. Raises what `lock` raises, and `Invalid` for an
    empty reason.
    """
    given = "" if reason is None else check_reason(reason)

    def work() -> Row:
        row: Any = lock()
        before = row.paused_at
        if (before is None) == is_paused:
            prepare(row)
            now = clock.now()
            # What has read the row without a lock finds its version changed.
            save_changes(row, paused_at=now if is_paused else None, updated_at=now, version=row.version + 1)
            journal.note(
                what=f"{kind}.{'paused' if is_paused else 'resumed'}",
                subject=f"{kind} {row.pk}",
                before={"paused_at": before},
                after={"paused_at": row.paused_at, "reason": given},
                detail=given,
            )
        return cast(Row, row)

    return transactions.run_or_savepoint(work, transactions.ONCE)


def explain(kind: str, row_id: int, *, reason: str) -> str:
    """Add the reason of its last pause to the journal of the row of this kind, and return it as it is kept.

    Raises `Invalid` without a reason.
    """
    given = check_reason(reason)

    def note() -> None:
        journal.note(
            what=f"{kind}.pause_explained",
            subject=f"{kind} {row_id}",
            after={"reason": given},
            detail=given,
            is_internal=True,
        )

    transactions.run_or_savepoint(note, transactions.ONCE)
    return given
