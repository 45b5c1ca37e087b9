"""Campaigns, and the coupons they issue: exactly as many as there are, one for an account.

Start at `issuing.issuing`. Orders may import from here; coupons imports shop, accounts and the inventory.
"""

CAMPAIGNS_AT_ONCE = 1_024
"""Of which a process keeps a batcher, a limit or a memory; a busy one that is dropped safely gets another."""
