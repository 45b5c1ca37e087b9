"""Prints what its clocks say, and the time of a file that it writes, ten times a second until it is ended."""

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    path = Path(sys.argv[1])
    while True:
        path.touch()
        boot_time = time.clock_gettime(time.CLOCK_BOOTTIME)
        print(time.time(), time.monotonic(), boot_time, path.stat().st_mtime, flush=True)
        time.sleep(0.1)
