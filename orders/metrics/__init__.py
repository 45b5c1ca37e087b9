"""Metrics of orders: what this process counts, and the state of orders, payments and stock."""
