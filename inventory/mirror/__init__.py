"""The mirror of stock in Redis, for the strategy `redis_gate`, and how it is healed."""
