"""Codes of coupons: made here, given for a pool, or read from files, as lists of eligible accounts are."""
