"""What a partner outside must be able to do who confirms coupons, and the shape of what it says."""

from enum import Enum
from typing import Protocol
from uuid import UUID


class PartnerReply(Enum):
    """What became of a key at the partner. All but `UNKNOWN` are for good, unless the key is cancelled."""

    REGISTERED = "registered"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class NotReached(Exception):
    """The partner was not reached: it surely knows nothing of this call."""


class NoAnswer(Exception):
    """The partner was asked, and nothing came back that tells what it did."""


class Partner(Protocol):
    """Registers codes by key: the same key registers once, and hears the first outcome again.

    All calls are made outside any transaction, take a bounded time, and raise `NotReached` or `NoAnswer`.
    """

    def register(self, key: UUID, code: str) -> PartnerReply:
        """Register the code: `REGISTERED`, `REFUSED`, or `CANCELLED` where the key was cancelled before."""

    def find(self, key: UUID) -> PartnerReply:
        """What became of the key: `UNKNOWN` says that it may still arrive."""

    def cancel(self, key: UUID) -> PartnerReply:
        """See to it that nothing is registered under the key, and never will be.

        `CANCELLED`, or `REFUSED` where it was refused before.
        """
