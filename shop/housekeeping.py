"""What piles up at the edge, and is swept away once nobody needs it."""

from shop import idempotency, tokens


def sweep() -> int:
    """Forget idempotency keys past their retention and refresh tokens past their time. Returns how many."""
    return idempotency.sweep() + tokens.sweep()
