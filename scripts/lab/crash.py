"""What befalls the stack in the scenario `crash`: processes killed and Redis emptied under load, in turn.

Told is how long each fault kept coupons from being issued: from the stroke to the next row in the database.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from threading import Event
from typing import Any

from scripts.bench.stage import Staff
from scripts.chaos import faults
from scripts.chaos.faults import Fault
from scripts.stack import SetupError, database, process_identity, readiness

FAULTS: Mapping[str, Fault] = {
    "web killed": Fault("kill", faults.WEB_PROCESS, 0),
    "redis killed": Fault("kill", "redis", 0),
    "redis emptied": Fault("flush", "redis", 0),
}
ISSUER: Mapping[str, Fault] = {"issuer killed": Fault("kill", "issuer", 0)}
"""Whom only the tickets of `queue` need."""
PAUSE_SECONDS = 0.8
"""Of plain load before each fault."""
LOOK_SECONDS = 0.02
ANSWERS_IN_A_ROW = 10
"""The kernel deals new connections out among web's processes, also to one that is only starting."""

CAMPAIGN = "SELECT id, strategy FROM coupons_campaign ORDER BY id DESC LIMIT 1"
COUPONS = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s"


def befall(staff: Staff, variant: str, ended: Event) -> list[dict[str, Any]]:
    """One fault after the other, until the load has ended; what each kind of them cost, at worst.

    `seconds` is None where the load ended before another coupon came.
    """
    campaign, strategy = database.rows(staff.instance, CAMPAIGN)[0]
    kinds = {**FAULTS, **ISSUER} if strategy == "queue" else FAULTS
    processes = _web_processes(staff)
    told: dict[str, list[float | None]] = {}
    for name in cycle(kinds):
        if ended.wait(PAUSE_SECONDS) or not _is_whole(staff, processes, ended):
            break
        told.setdefault(name, []).append(_struck(staff, kinds[name], campaign, ended))
    if faults.seconds_until_ready(staff.instance) is None:
        raise SetupError(f"the shop was not ready {faults.PATIENCE_SECONDS} s after the last fault")
    return list(_at_worst(told))


def _is_whole(staff: Staff, processes: int, ended: Event) -> bool:
    """Wait until all of web's processes are there and serve, so that one fault's price isn't another's."""
    in_a_row = 0
    while in_a_row < ANSWERS_IN_A_ROW:
        is_served = _web_processes(staff) >= processes and _answers(staff)
        in_a_row = in_a_row + 1 if is_served else 0
        if ended.wait(LOOK_SECONDS):
            return False
    return True


def _answers(staff: Staff) -> bool:
    """Whether the process that a new connection comes to serves already, rather than starting."""
    with contextlib.suppress(OSError):
        return readiness.ask(staff.instance.port, "GET", "/healthz")[0] == 200
    return False


def _web_processes(staff: Staff) -> int:
    return len(process_identity.group_of(staff.instance.run, "web"))


def _struck(staff: Staff, fault: Fault, campaign: int, ended: Event) -> float | None:
    """Strike, and return after how many seconds the next coupon was there."""
    began = time.monotonic()
    faults.inject(fault, staff.instance)
    before = _coupons(staff, campaign)
    while _coupons(staff, campaign) == before:
        if ended.wait(LOOK_SECONDS):
            return None
    return round(time.monotonic() - began, 2)


def _at_worst(told: Mapping[str, Sequence[float | None]]) -> Iterator[dict[str, Any]]:
    for name, all_seconds in told.items():
        known = [seconds for seconds in all_seconds if seconds is not None]
        yield {"fault": name, "times": len(all_seconds), "seconds": max(known, default=None)}


def _coupons(staff: Staff, campaign: int) -> int:
    [(count,)] = database.rows(staff.instance, COUPONS, campaign)
    return int(count)
