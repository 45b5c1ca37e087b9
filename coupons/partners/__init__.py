"""Partners that confirm coupons: their protocols, confirmations, and the recovery of open ones."""

from collections.abc import Callable

from coupons.partners import convenience_store
from coupons.partners.contract import Partner

PARTNERS: dict[str, Callable[[], Partner | None]] = {"convenience_store": convenience_store.from_settings}
"""Functions that return each partner as the settings configure it, or None if they don't."""


def named(name: str) -> Partner | None:
    """The partner of that name, where it is configured."""
    return PARTNERS[name]() if name in PARTNERS else None


def configured() -> list[str]:
    """The names of the partners that a campaign may have in this installation."""
    return [name for name in PARTNERS if named(name)]
