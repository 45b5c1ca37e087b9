"""The operators' pages of campaigns, coupons and pool codes."""

from coupons.admin import campaigns

__all__ = ["campaigns"]
