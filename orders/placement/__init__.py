"""Placement of orders: the entry point `checkout`, decisions of a batch, purchase limits, strategies."""
