"""The doctor: what would break the shop's promises where it runs, and what to do about it."""

from shop.operations.doctor import brokers, clocks, databases, events, redises, start
from shop.operations.doctor.findings import Finding


def examine() -> list[Finding]:
    """Everything that is looked at, good or bad; what can't be reached is a finding too."""
    return [
        *start.examine(),
        *databases.examine(),
        *redises.examine(),
        *brokers.examine(),
        *clocks.examine(),
        *events.examine(),
    ]
