"""The packages that the lock files pin."""

import re

from scripts.stack import places

LOCK_FILES = (
    "requirements.txt",
    "requirements-embedded.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
)
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)


def read_pins(*names: str) -> set[tuple[str, str]]:
    """Name and version of each package, for this system or another."""
    return {pin for name in names for pin in PIN.findall((places.PROJECT / name).read_text())}
