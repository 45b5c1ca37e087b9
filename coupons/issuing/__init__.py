"""Issuing coupons: `issuing` is the entry point, `strategies` has a module for each strategy."""
