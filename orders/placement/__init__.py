"""Placing orders: the entry point, decisions of a batch, purchase limits, strategies."""
