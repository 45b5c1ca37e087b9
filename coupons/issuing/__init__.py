"""Issuing coupons: the entry point, and a module for each strategy."""
