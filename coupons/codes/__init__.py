"""Codes of coupons, and the accounts that a campaign is for: made here, given, or read from files."""
