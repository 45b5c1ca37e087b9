"""The doctor: checks whether the environment keeps the shop's promises, and says what to do if not."""

from shop.operations.doctor import audits, brokers, clocks, databases, events, redises, start
from shop.operations.doctor.findings import Finding


def examine() -> list[Finding]:
    """All findings, good and bad; a system that can't be reached is a finding too."""
    of_systems = (start, databases, redises, brokers, clocks, events, audits)
    return [finding for system in of_systems for finding in system.examine()]
