"""Processor time by process: what a request costs says more on a shared machine than how many there are."""

import os
from collections.abc import Mapping
from pathlib import Path

from scripts import process_identity
from scripts.instance import Instance

NAMES = ("web", "mariadb", "redis", "worker")
TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # of /proc/PID/stat, counted after the parenthesised name


def spent(instance: Instance) -> Mapping[str, float]:
    """Seconds of processor that each of these has used so far, its children included."""
    return {name: sum(map(_seconds, _processes(instance, name))) for name in NAMES}


def each(before: Mapping[str, float], now: Mapping[str, float], *, requests: int) -> dict[str, float]:
    """Microseconds a request that each has used since."""
    return {name: 1e6 * (now[name] - before[name]) / requests for name in now} if requests else {}


def _processes(instance: Instance, name: str) -> set[int]:
    # Redis writes its title over the mark by which children are known; it has none, and is known by its id.
    leader = process_identity.leader_of(instance.run, name)
    return process_identity.group_of(instance.run, name) | ({leader} if leader else set())


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0  # it ended
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / TICKS
