"""The Redis side of the strategy `redis_gate`: the gate, how it is filled, how it is healed."""
