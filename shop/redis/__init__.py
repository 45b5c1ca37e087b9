"""Redis, which may vanish: the client, locks, leases, completion notifications."""
