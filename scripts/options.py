"""Options of commands as make hands them over: each is a text, which is empty where nothing is said."""

import argparse
import random

from scripts.stack import Words


def is_on(text: str) -> bool:
    """`QUICK=1` is on; `QUICK=`, `QUICK=0` and `QUICK=no` are off."""
    return text.lower() not in {"", "0", "false", "no", "off"}


def seed(asked: argparse.Namespace) -> str:
    """That which is asked for, or a new one."""
    return asked.seed or str(random.SystemRandom().randrange(10**6))


def read(command: str, *, flags: Words = (), **about: str) -> argparse.Namespace:
    return parser(command, flags=flags, **about).parse_args()


def parser(command: str, *, flags: Words = (), **about: str) -> argparse.ArgumentParser:
    """What reads these options, each with the help that is given; those that are flags are on or off."""
    found = argparse.ArgumentParser(prog=command, allow_abbrev=False)
    for name, means in about.items():
        found.add_argument(f"--{name}", default="", type=is_on if name in flags else str, help=means)
    return found
