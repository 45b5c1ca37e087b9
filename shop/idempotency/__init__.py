"""Idempotency keys: the recorded answers, and the claims of calls in flight."""
