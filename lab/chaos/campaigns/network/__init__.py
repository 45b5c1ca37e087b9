"""Faults of the network: a proxy of each link between the shop and what it calls, and its states."""
