"""Rate limits per account, address and name: weighted counters, and exact windows of attempts to sign in."""
