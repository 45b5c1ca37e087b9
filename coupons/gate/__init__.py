"""The Redis side of the strategy `redis_gate`: the gate, and how it is filled and healed."""
