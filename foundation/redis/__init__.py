"""Redis, which may be unavailable at any time: the client, locks, completion notifications."""
