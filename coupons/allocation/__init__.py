"""Allocation: deciding what each request for a campaign gets, and writing it under the campaign's row lock.

Every strategy ends in `allocating`, which decides by `coupons.eligibility` and `coupons.slots`, and writes
by `coupons.rows`; `outcomes` has what it returns.
"""
