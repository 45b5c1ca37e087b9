"""Detects requests that wait for a campaign's row."""

from shop.tests.waiting import waiting_at


def waiting_for_the_row() -> int:
    """How many statements lock campaigns: while a test keeps the row locked, they wait for that.

    A read without a lock isn't counted: it runs for a moment too, and before the row is waited for.
    """
    return waiting_at("%coupons_campaign%FOR UPDATE%") + waiting_at("UPDATE%coupons_campaign%SET%")
