"""Campaigns, and the coupons they issue: exactly as many as there are, one for an account.

Start at `coupons.issuing`. Orders import from here; coupons import the inventory and what is below it.
"""

CAMPAIGNS_AT_ONCE = 1_024
"""Of which a process keeps a batcher, a limit or a memory; a busy one that is dropped safely gets another."""
