"""What piles up at the edge, and is swept away once nobody needs it."""

from shop import commit_marks, idempotency, tokens


def sweep() -> int:
    """Forget old idempotency keys, used refresh tokens and marks of transactions. Returns how many."""
    return idempotency.sweep() + tokens.sweep() + commit_marks.sweep()
