"""What keeps a process from starting."""

import sys
import time
from typing import NoReturn

# A supervisor restarts a process that exits; the pause keeps it from doing so continuously.
PAUSE_SECONDS = 2.0


def refuse(reason: str) -> NoReturn:
    """Say why this process does not start, and end it with exit code 1."""
    print(f"firstcome: not starting: {reason}", file=sys.stderr, flush=True)
    time.sleep(PAUSE_SECONDS)
    raise SystemExit(1)
