"""The doctor: checks whether the environment keeps the shop's promises, and says what to do if not."""

from shop.operations.doctor import (
    audits,
    brokers,
    clocks,
    databases,
    events,
    group_replication,
    redises,
    replication,
    sentinels,
    start,
)
from shop.operations.doctor.findings import Finding


def examine() -> list[Finding]:
    """All findings, good and bad; a system that can't be reached is a finding too."""
    return [
        *start.examine(),
        *databases.examine(),
        *group_replication.examine(),
        *replication.examine(),
        *redises.examine(),
        *sentinels.examine(),
        *brokers.examine(),
        *clocks.examine(),
        *events.examine(),
        *audits.examine(),
    ]
