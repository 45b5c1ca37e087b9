"""What figures depend on: the machine, and what runs on it in which version."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from scripts import places


def processor() -> str:
    """The processor's name, as the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> int:
    return os.cpu_count() or 1


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def system() -> str:
    return f"{platform.system()} {platform.release()}"


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def versions() -> dict[str, str]:
    """Of what does the work; the servers tell theirs themselves."""
    return {"Python": platform.python_version()} | {
        name: metadata.version(name) for name in ("Django", "uvicorn", "k6")
    }


def commit() -> str:
    """The short hash of what is checked out, or `unknown` where there is no git."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        told = subprocess.run(asked, cwd=places.PROJECT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
