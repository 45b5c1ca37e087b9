"""API keys: how staff make, rotate and revoke them, their scopes, and what a process remembers of them."""
