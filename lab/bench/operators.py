"""The row of operators: what viewers of the launch board cost."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence

from lab import stage as stages
from lab.bench import connections
from lab.bench.rows import Measured
from lab.bench.stage import Stage
from scripts.stack import children

OPERATORS, OF_OPERATOR = 8, 6
"""Accounts that view the board, and the pages of each."""
SETTLING_SECONDS, EVERY_SECONDS, SIGN_IN_SECONDS = 3.0, 1.0, 60
"""What pages take when they are opened is over after the first of these; a page asks once in the second."""
FIGURES, MARK = "/admin/board/figures/?since=99999999999", b'{"snapshot":'
SIGN_IN = """
import json, sys
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client

clients = [Client() for _ in range(int(sys.argv[1]))]
for number, client in enumerate(clients):
    client.force_login(User.objects.create_superuser(f"bench-operator-{number}"))
print(json.dumps([client.cookies["sessionid"].value for client in clients]))
"""


def measure(stage: Stage) -> Iterator[Measured]:
    """The processor time of viewers beyond one for each operator, who make both web processes read."""
    command, own = [sys.executable, "-c", SIGN_IN, str(OPERATORS)], stage.environment
    ran = children.run(command, within_seconds=SIGN_IN_SECONDS, environment=own)
    sessions = json.loads(children.printed(ran).splitlines()[-1])
    requests = [connections.request(FIGURES, method="GET", Cookie=f"sessionid={key}") for key in sessions]
    few, _ = asyncio.run(_watch(stage, requests))
    many, snapshots = asyncio.run(_watch(stage, requests * OF_OPERATOR))
    unserved = f"board: {snapshots.count(0)} of {len(snapshots)} viewers got no snapshots"
    yield Measured(
        row="board",
        figures={"viewers_cores": many - few},
        findings=[unserved] if 0 in snapshots else [],
        says=f"{len(snapshots) - len(requests)} beside {len(requests)}, with whom web takes {few:.3f} cores",
    )


async def _watch(stage: Stage, requests: Sequence[bytes]) -> tuple[float, list[int]]:
    """How much of a core web processes take while these pages are open, and the snapshots of each."""
    snapshots = [0] * len(requests)

    async def view(index: int, streams: connections.Streams) -> None:
        while True:
            snapshots[index] += MARK in (await connections.ask(streams, requests[index])).body
            await asyncio.sleep(EVERY_SECONDS)

    opened = await connections.open_all(stage.instance.port, len(requests))
    viewers = [asyncio.ensure_future(view(index, one)) for index, one in enumerate(opened)]
    await asyncio.sleep(SETTLING_SECONDS)
    earlier, began_at = list(snapshots), time.monotonic()
    before = stages.spent(stage.instance)["web"]
    await asyncio.sleep(stage.size.crowd_seconds)
    cores = (stages.spent(stage.instance)["web"] - before) / (time.monotonic() - began_at)
    for viewer in viewers:
        viewer.cancel()
    return cores, [now - had for now, had in zip(snapshots, earlier, strict=True)]
