"""Exponential backoff with jitter, of sagas, webhook deliveries, confirmations and gateway events."""

import random

FIRST_SECONDS, LONGEST_SECONDS = 1, 300


def pause_seconds(attempts: int) -> float:
    """The pause after this many failed attempts: doubles from 1 s to 5 min, less a jitter of up to half."""
    longest: int = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(attempts - 1, 16))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter
