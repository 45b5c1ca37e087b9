"""The row of open connections: all wait with one request each, and half as many coupons as they are."""

import json
from collections.abc import Collection, Iterator
from dataclasses import replace

from scripts.bench import connections, processor
from scripts.bench.connections import Told
from scripts.bench.measured import Run
from scripts.bench.stage import Stage
from scripts.load import Figures


def measure(stage: Stage) -> Run:
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
    before = processor.spent(stage.instance)
    told = connections.open_and_ask(stage.instance.port, asked)
    after = processor.spent(stage.instance)
    issued = stage.staff.call("GET", f"/campaigns/{campaign}")["issued"]
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(told.statuses.items()))
    fewer = f"; this process may open no more than {number:,} of {wanted:,}" if number < wanted else ""
    return Run(
        row="connections",
        figures=replace(
            figures(told, expected=(201, 409)),
            microseconds=processor.each(before, after, requests=len(told.answers)),
        ),
        findings=list(findings(told, quantity=quantity, issued=issued)),
        others={"connections": number},
        says=f"{statuses}{fewer}",
    )


def figures(told: Told, *, expected: Collection[int]) -> Figures:
    """The answers as the figures of a load; those of other statuses are errors."""
    others = {status: count for status, count in told.statuses.items() if status not in expected}
    return Figures(
        seconds=told.seconds,
        requests=len(told.answers),
        errors=sum(others.values()),
        statuses={str(status): count for status, count in others.items()},
        p50_ms=told.percentile_ms(0.5),
        p95_ms=told.percentile_ms(0.95),
        max_ms=told.percentile_ms(1),
        k6_cores=0,
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
