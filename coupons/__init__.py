"""Campaigns, and the coupons they issue: exactly as many as there are, one for an account.

Start at `issuing.issuing`. Orders may import from here; coupons imports shop alone.
"""
