"""Idempotency keys: recorded answers, and the claims of calls in flight."""
