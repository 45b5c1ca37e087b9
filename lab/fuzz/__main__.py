"""`make fuzz`: the command. The run is in `fuzz.run`."""

import argparse
import random
import sys
from functools import partial

from lab.fuzz import run
from scripts.stack import own_stack

SECONDS = 600


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Send the shop what it must refuse.")
    parser.add_argument("--db", default="", help="mariadb or sqlite (mariadb)")
    parser.add_argument("--seconds", default="", help=f"how long requests are sent ({SECONDS})")
    parser.add_argument("--seed", default="", help="to have the same requests again")
    asked = parser.parse_args()
    if not (asked.seconds or "1").isdecimal():
        parser.error(f"SECONDS={asked.seconds} is not a whole number")
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    fuzz = partial(run.fuzz, seconds=int(asked.seconds or SECONDS), seed=seed)
    return own_stack.measure("make fuzz", "fuzz", fuzz, database=asked.db or "mariadb")


if __name__ == "__main__":
    sys.exit(main())
