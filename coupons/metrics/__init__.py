"""Metrics of coupons: what this process counts, and the state of campaigns."""
