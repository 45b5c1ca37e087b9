"""Fixtures of the tests of accounts."""

from shop.tests.outages import own_redis

__all__ = ["own_redis"]
