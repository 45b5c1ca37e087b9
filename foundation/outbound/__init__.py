"""Calls to other systems: the HTTP client, the circuit breaker, and backoff."""
