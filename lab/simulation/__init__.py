"""A deterministic simulation of the shop in one thread: seeded processes, faults and outside systems."""
