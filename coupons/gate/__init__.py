"""The Redis side of the strategy `redis_gate`: the gate, its filling from the database, and its healing."""
