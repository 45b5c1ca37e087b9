"""How long to wait before something is tried again: ever longer, and never in step with the others."""

import random

FIRST_SECONDS, LONGEST_SECONDS = 1, 300


def pause_seconds(attempts: int) -> float:
    """The pause after so many attempts in vain: doubling from 1 s to 5 min, jitter taking up to half."""
    longest: int = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(attempts - 1, 16))
    return longest * random.uniform(0.5, 1)
