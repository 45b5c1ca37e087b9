"""The mirror of stock in Redis, for the strategy `redis_gate`."""
