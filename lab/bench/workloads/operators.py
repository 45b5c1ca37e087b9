"""The rows of operators: what viewers of the launch board cost, and how long pages of the admin take."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from statistics import median

from lab.bench import watching
from lab.bench.load import Measured
from lab.bench.stage import Stage
from lab.bench.workloads import connections
from scripts.stack import children, ports

OPERATORS, OF_OPERATOR = 8, 6
"""Accounts that view the board, and the pages of each."""
SETTLING_SECONDS = 3.0
"""After pages are opened: what they took at first is over."""
EVERY_SECONDS = 1.0
FIGURES, MARK = "/admin/board/figures/?since=99999999999", b'{"snapshot":'
PAGES = (
    "/admin/",
    "/admin/orders/order/",
    "/admin/orders/order/?status__exact=paid&p=last",
    "/admin/coupons/coupon/",
    "/admin/payments/payment/",
    "/admin/shop/journalline/",
    "/admin/auth/user/",
    "/admin/search/?q=filled",
)
TIMES = 5
SIGN_IN_SECONDS = 60
SIGN_IN = """
import json, sys
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client

keys = []
for number in range(int(sys.argv[1])):
    rights = {"is_staff": True, "is_superuser": True}
    account, _ = User.objects.get_or_create(username=f"bench-operator-{number}", defaults=rights)
    client = Client()
    client.force_login(account)
    keys.append(client.cookies["sessionid"].value)
print(json.dumps(keys))
"""


class Viewer(connections.Connection):
    """A connection of a page with the board."""

    snapshots = 0

    def on_body(self, body: bytes) -> None:
        self.snapshots += body.count(MARK)

    async def watch(self, request: bytes) -> None:
        """Ask for the figures until this is cancelled."""
        while True:
            self.send(request)
            await asyncio.sleep(EVERY_SECONDS)


def measure(stage: Stage) -> list[Measured]:
    """Both rows."""
    requests = [_requests(key) for key in _sign_in(stage)]
    return [_board(stage, [figures for figures, _ in requests]), _pages(stage, requests[0][1])]


def _requests(key: str) -> tuple[bytes, list[bytes]]:
    """Those of a session: for the board's figures, and for each page."""
    cookie = {"Cookie": f"sessionid={key}"}
    figures, *pages = (
        connections.request(path, "", access="", headers=cookie, method="GET") for path in (FIGURES, *PAGES)
    )
    return figures, pages


def _board(stage: Stage, requests: Sequence[bytes]) -> Measured:
    """The processor time of viewers beyond one for each operator, who make both web processes read."""
    few, _ = asyncio.run(_watch(stage, requests))
    many, snapshots = asyncio.run(_watch(stage, [*requests] * OF_OPERATOR))
    number = len(requests) * (OF_OPERATOR - 1)
    unserved = snapshots.count(0)
    return Measured(
        row="board",
        figures={"viewers_cores": many - few},
        findings=[f"board: {unserved} of {len(snapshots)} viewers got no snapshots"] if unserved else [],
        says=f"{number} viewers beside {len(requests)}, with whom the web processes take {few:.3f} of a core",
    )


async def _watch(stage: Stage, requests: Sequence[bytes]) -> tuple[float, list[int]]:
    """How much of a core web processes take while these pages are open, and the snapshots of each."""
    loop, port = asyncio.get_running_loop(), stage.instance.port
    viewers = [(await loop.create_connection(Viewer, ports.HOST, port))[1] for _ in requests]
    watching_pages = [
        asyncio.ensure_future(one.watch(request)) for one, request in zip(viewers, requests, strict=True)
    ]
    await asyncio.sleep(SETTLING_SECONDS)
    before, began_at = watching.spent(stage.instance)["web"], time.monotonic()
    earlier = [viewer.snapshots for viewer in viewers]
    await asyncio.sleep(stage.size.crowd_seconds)
    cores = (watching.spent(stage.instance)["web"] - before) / (time.monotonic() - began_at)
    for viewer, task in zip(viewers, watching_pages, strict=True):
        task.cancel()
        viewer.close()
    return cores, [viewer.snapshots - had for viewer, had in zip(viewers, earlier, strict=True)]


def _pages(stage: Stage, requests: Sequence[bytes]) -> Measured:
    """Each page by itself, several times after once: of the medians, the median and the longest."""
    took, findings = dict[str, float](), list[str]()
    for path, request in zip(PAGES, requests, strict=True):
        came = [connections.open_and_send(stage.instance.port, [request]) for _ in range(TIMES + 1)]
        findings += connections.unexpected(came[-1], f"staff_pages, {path}", expected=(200,))
        took[path] = median(one.percentile_ms(1) for one in came[1:])
    slowest = max(took, key=took.__getitem__)
    return Measured(
        row="staff_pages",
        figures={"p50_ms": median(took.values()), "max_ms": took[slowest]},
        findings=findings,
        says=f"the longest is {slowest}",
    )


def _sign_in(stage: Stage) -> list[str]:
    """The keys of the sessions of new operators. Raises SetupError."""
    command = [sys.executable, "-c", SIGN_IN, str(OPERATORS)]
    own = {**stage.environment, "DJANGO_SETTINGS_MODULE": "shop.settings"}
    ran = children.run(command, within_seconds=SIGN_IN_SECONDS, environment=own)
    keys: list[str] = json.loads(children.printed(ran).splitlines()[-1])
    return keys
