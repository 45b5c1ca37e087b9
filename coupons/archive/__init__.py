"""Archived coupons: those of closed campaigns, moved a month at a time into a second table."""
