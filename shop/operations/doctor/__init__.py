"""The doctor: checks whether the environment keeps the shop's promises, and says what to do if not."""

from itertools import chain

from shop.operations.doctor import databases, start, stores, work
from shop.operations.doctor.findings import Finding


def examine() -> list[Finding]:
    """All findings, good and bad; a system that can't be reached is a finding too."""
    return [*chain.from_iterable(system.examine() for system in (start, databases, stores, work))]
