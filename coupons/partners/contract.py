"""The interface of a partner that confirms coupons, and its replies."""

from enum import Enum
from typing import Protocol
from uuid import UUID


class PartnerReply(Enum):
    """The state of a key at the partner. All but `UNKNOWN` are final, unless the key is cancelled."""

    REGISTERED = "registered"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class NotReached(Exception):
    """The partner was not reached: it certainly doesn't know of this call."""


class NoAnswer(Exception):
    """The partner may have been reached, but its answer is missing or can't be read."""


PartnerAnswer = PartnerReply | NotReached | NoAnswer
"""The partner's reply, or why there is none."""


class Partner(Protocol):
    """Registers codes by key: a key is registered once, and a repeat gets the first reply again.

    All calls are made outside any transaction, take a bounded time, and raise `NotReached` or `NoAnswer`.
    """

    def register(self, key: UUID, code: str) -> PartnerReply:
        """Register the code: `REGISTERED`, `REFUSED`, or `CANCELLED` where the key was cancelled before."""

    def find(self, key: UUID) -> PartnerReply:
        """The state of the key; with `UNKNOWN` an earlier registration may still arrive."""

    def cancel(self, key: UUID) -> PartnerReply:
        """Make sure that nothing is registered under the key, now or later.

        `CANCELLED`, or `REFUSED` where it was refused before.
        """
