"""The packages that a lock pins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import places

RUNTIME = places.PROJECT / "requirements.txt"
LOCKS = [RUNTIME, places.PROJECT / "requirements-embedded.txt", places.PROJECT / "requirements-dev.txt"]
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]+\])?==(?P<version>[^ \\;]+)(?P<rest>.*(\n    --hash=.*)*)", re.M
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, order=True)
class Package:
    """One package at its version, with the SHA-256 sums of the files that may be installed."""

    name: str
    version: str
    sums: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def packages(lock: Path) -> Iterator[Package]:
    """Each package of the lock, in its order."""
    for found in PIN.finditer(lock.read_text()):
        yield Package(found["name"].lower(), found["version"], frozenset(HASH.findall(found["rest"])))
