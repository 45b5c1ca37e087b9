"""Names what a ramp ran into, from the means over the step that was too much: the first rule that fits them.

A rule returns its evidence in words, or nothing. The processor comes first: while it is used up, more threads
or fewer locks bring nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lab.compare.panels import Means

NEARLY_ALL = 0.9
MOST_BUSY = 0.95
MOST_GC_PERCENT = 10
NOT_NAMED = "not named"
OTHERS = "other programs"
"""The processor time that neither the stack nor k6 takes."""


def name_wall(means: Means) -> dict[str, Any]:
    """The wall's `name`, what `says` so, and what `also` fits. `bounds` has the number of `cores`."""
    found = {name: says for name, rule in RULES.items() if (says := rule(means))}
    name = next(iter(found), NOT_NAMED)
    also = [f"{other} ({says})" for other, says in found.items() if other != name]
    return {"name": name, "says": found.get(name, _busiest(means)), "also": also}


def _neighbours(means: Means) -> str:
    return _used_up(means) if _largest_share(means) == OTHERS else ""


def _processor(means: Means) -> str:
    return _used_up(means) if _largest_share(means) != OTHERS else ""


def _used_up(means: Means) -> str:
    busy = sum(means.get("processor", {}).values())
    return _busiest(means) if busy > NEARLY_ALL * means["bounds"]["cores"] else ""


def _largest_share(means: Means) -> str:
    shares = means.get("processor", {})
    return max(shares, key=lambda name: shares[name], default="")


def _interpreter(means: Means) -> str:
    shares = means.get("processor", {})
    for name, number in means.get("processes", {}).items():
        each = shares.get(name, 0) / max(number, 1)
        if each > NEARLY_ALL:
            return f"each process of {name}, {number:.0f} in all, computes {each:.0%} of the time on its core"
    return ""


def _connections(means: Means) -> str:
    opened = means.get("connections", {}).get("open", 0)
    most = means["bounds"].get("connections", float("inf"))
    return f"{opened:.0f} of {most:.0f} are open" if opened > MOST_BUSY * most else ""


def _lock_waits(means: Means) -> str:
    running = means.get("connections", {}).get("running a statement", 0)
    waiting = means.get("locks", {}).get("waiting", 0)
    is_most = waiting > 1 and waiting > running / 2
    return f"of {running:.1f} sessions with a statement {waiting:.1f} wait for a row" if is_most else ""


def _batcher(means: Means) -> str:
    # The shares of several web processes are summed: each has a batcher of its own.
    processes = max(means.get("processes", {}).get("web", 1), 1)
    for name, seconds in means.get("batching", {}).items():
        if seconds > NEARLY_ALL * processes:
            requests = means.get("batches", {}).get(name, 0)
            return (
                f"{name} executes a batch {seconds / processes:.0%} of the time, of {requests:.0f} requests"
            )
    return ""


def _threads(means: Means) -> str:
    for name, threads in means.get("pools", {}).items():
        busy, queued = (means.get(panel, {}).get(name, 0) for panel in ("threads", "queued"))
        if busy > MOST_BUSY * threads and queued > 1:
            return f"{busy:.0f} of {threads:.0f} are busy in {name}, and {queued:.0f} tasks wait for one"
    return ""


def _memory_of_redis(means: Means) -> str:
    used = means.get("redis_state", {}).get("memory, MiB", 0)
    most = means["bounds"].get("memory of Redis, MiB") or float("inf")
    return f"{used:.0f} of {most:.0f} MiB are used" if used > MOST_BUSY * most else ""


def _collector(means: Means) -> str:
    processes = means.get("processes", {})
    for name, percent in means.get("gc", {}).items():
        each = percent / max(processes.get(name, 1), 1)
        if each > MOST_GC_PERCENT:
            return f"{name} stands still for {each:.0f} % of the time"
    return ""


RULES: Mapping[str, Callable[[Means], str]] = {
    "other programs of the machine": _neighbours,
    "the processor": _processor,
    "one core of a process": _interpreter,
    "connections of the database": _connections,
    "lock waits": _lock_waits,
    "batches": _batcher,
    "threads": _threads,
    "memory of Redis": _memory_of_redis,
    "garbage collection": _collector,
}


def _busiest(means: Means) -> str:
    shares = means.get("processor", {})
    return f"{sum(shares.values()):.2f} of {means['bounds']['cores']:.0f} cores are busy: {_shares(shares)}"


def _shares(shares: Mapping[str, float]) -> str:
    largest = sorted(shares.items(), key=lambda share: -share[1])
    return ", ".join(f"{name} {number:.2f}" for name, number in largest if number >= 0.05)
