"""The row of open connections: all wait with one request each, and half as many coupons as they are."""

import json
from collections.abc import Iterator

from scripts.bench import connections
from scripts.bench.connections import Told
from scripts.bench.measured import Measured
from scripts.bench.stage import Stage


def measure(stage: Stage) -> Measured:
    """Everybody has to be answered, and exactly as many coupons given as there are."""
    wanted = stage.size.connections
    number = connections.allowed(wanted)
    quantity = number // 2
    campaign = stage.campaign("open connections", quantity=quantity)
    body = json.dumps({"campaign": campaign})
    asked = [
        connections.request("/api/v1/coupons", body, access=user["access"])
        for user in stage.staff.users[:number]
    ]
    told = connections.open_and_ask(stage.instance.port, asked)
    issued = stage.staff.call("GET", f"/campaigns/{campaign}")["issued"]
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(told.statuses.items()))
    fewer = f"; this process may open no more than {number:,} of {wanted:,}" if number < wanted else ""
    return Measured(
        row="connections",
        figures={
            "connections": number,
            "p50_ms": told.percentile_ms(0.5),
            "p95_ms": told.percentile_ms(0.95),
            "max_ms": told.percentile_ms(1),
            "seconds": told.opening_seconds,
        },
        findings=list(findings(told, quantity=quantity, issued=issued)),
        says=f"{statuses}{fewer}",
    )


def findings(told: Told, *, quantity: int, issued: int) -> Iterator[str]:
    """What must not be, however slow it is."""
    given = told.statuses.get(201, 0)
    if told.refused:
        yield f"connections: {told.refused} were refused"
    if told.statuses.get(0):
        yield f"connections: {told.statuses[0]} were left without an answer"
    if not given == issued == quantity:
        yield f"connections: of {quantity} coupons {issued} are issued, and {given} were told of theirs"
    others = [one for one in told.answers if one.status not in (0, 201, 409, 503)]
    if others:
        yield f"connections: {len(others)} answers of {sorted({one.status for one in others})}"
    if any(one.status == 503 and not one.says_when for one in told.answers):
        yield "connections: answers of 503 without Retry-After"
