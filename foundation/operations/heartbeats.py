"""Heartbeats of beat and issuer: when each last did its work, readable by the other processes.

They are kept in Redis, so that a web process can expose how long a process that has died has been silent.
"""

import time
from functools import partial

from foundation import clock
from foundation.observability import gauges
from foundation.observability.gauges import Source
from foundation.redis import redis_client

BEAT = "beat"
ISSUER = "issuer"
GAUGES = {
    BEAT: (
        "firstcome_beat_last_tick_seconds",
        "How long ago the beat that acts last looked at its schedule.",
    ),
    ISSUER: ("firstcome_issuer_last_pass_seconds", "How long ago an issuer last looked for queues."),
}
_own: dict[str, float | None] = {}
"""When this process last recorded each; None while another process does its work."""


def expose(name: str, source: Source) -> None:
    """Expose the heartbeat: as Redis has it, or that of this process, which needs no Redis."""
    gauge, help = GAUGES[name]
    gauges.register(gauge, help, partial(age_seconds, name), source=source)


def record(name: str) -> None:
    """Note that this process has done its work now, once a second; never raises, waits for Redis a second at
    most.
    """
    before = _own.get(name)
    if before is None or time.monotonic() - before >= 1.0:
        _own[name] = time.monotonic()
        seconds = clock.seconds()
        redis_client.attempt(lambda client: client.set(_key(name), seconds), otherwise=None)


def suspend(name: str) -> None:
    """Expose no age of this heartbeat until this process records it again: another process does its work."""
    _own[name] = None


def age_seconds(name: str) -> float | None:
    """How long ago this process, or else the last one of this name, recorded it.

    None if none did, and in a process that has suspended it.
    """
    if name in _own:
        recorded_at = _own[name]
        return None if recorded_at is None else time.monotonic() - recorded_at
    written: bytes | None = redis_client.client().get(_key(name))  # type: ignore[assignment]
    return None if written is None else max(0.0, clock.seconds() - float(written))


def _key(name: str) -> str:
    return f"firstcome:heartbeat:{name}"
