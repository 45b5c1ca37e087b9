"""Issuing coupons: the entry point `issuing`, and a module for each strategy."""
