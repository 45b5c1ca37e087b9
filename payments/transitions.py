"""The states of a payment, and which follows which.

Final states never change, except that a charge that succeeded may be reversed.
"""

from enum import StrEnum


class Status(StrEnum):
    PENDING = "pending"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERSED = "reversed"


TRANSITIONS: dict[str, frozenset[str]] = {
    Status.PENDING: frozenset({Status.IN_DOUBT, Status.SUCCEEDED, Status.FAILED, Status.REVERSED}),
    # Pending again once the gateway says that it waits for the card's owner.
    Status.IN_DOUBT: frozenset({Status.PENDING, Status.SUCCEEDED, Status.FAILED, Status.REVERSED}),
    Status.SUCCEEDED: frozenset({Status.REVERSED}),
    Status.FAILED: frozenset(),
    Status.REVERSED: frozenset(),
}
UNSETTLED = (Status.PENDING, Status.IN_DOUBT)
ENDED_UNPAID = (Status.FAILED, Status.REVERSED)
SOURCES: dict[str, list[str]] = {
    target: [str(status) for status, targets in TRANSITIONS.items() if target in targets] for target in Status
}
"""The states from which a payment may change to each one."""
