"""What was true a moment ago: keys that are remembered for some seconds, and few of them."""

import time

MOST = 1_024


class Recent:
    """Keys that are remembered for `seconds` after each `note`; all are forgotten when there are too many."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[object, float] = {}

    def note(self, key: object) -> None:
        """Remember the key from now on."""
        if len(self._until) >= MOST:
            self._until.clear()
        self._until[key] = time.monotonic() + self._seconds

    def __contains__(self, key: object) -> bool:
        return self._until.get(key, float("-inf")) > time.monotonic()
