"""The operators' pages of campaigns, coupons and pool codes."""

from coupons.admin import campaigns, coupons

__all__ = ["campaigns", "coupons"]
