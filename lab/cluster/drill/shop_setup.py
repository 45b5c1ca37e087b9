"""The drill's cluster as a child process, and what its shop sells while faults happen."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.chaos.calls import Observations
from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from lab.cluster import overrides
from lab.cluster.drill import load
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, children, own_stack, process_identity

READY, READY_SECONDS, STOP_SECONDS, COMMAND_SECONDS = "Ctrl-C stops everything.", 900, 150, 180
PRODUCTS, STOCK, PLENTY = 6, 20_000, 1_000_000
COUPONS, FEW_COUPONS = 10_000, 30
"""Of most campaigns, and of those that sell out."""
SETTINGS = {
    # Short, so that what is left undone ends before it is judged.
    "ORDER_HOLD_SECONDS": "20",
    "OPEN_ORDERS_PER_ACCOUNT": "100000",
    "OPEN_UNITS_PER_ACCOUNT": "1000000",
    "GRANT_DAY_AMOUNT": "1000000000",
    "RECONCILE_SECONDS": "30",
    "PARTNER_FAILURE_RATE": "0",
    **own_stack.NO_RATES,
}


@contextmanager
def running_cluster(cluster: Cluster, groups: Path) -> Iterator[None]:
    """`make cluster`, from its start to Ctrl-C. Raises SetupError when it doesn't start or end."""
    log = cluster.home.parent / "cluster.log"
    log.write_bytes(b"")
    own = SETTINGS | {"FIRSTCOME_VAR": str(cluster.home.parent), overrides.GROUPS: str(groups)}
    command = [sys.executable, "-m", "lab.cluster", "--port", str(cluster.first_port)]
    child = children.start(command, log=log, environment=os.environ | own, when_parent_dies=signal.SIGTERM)
    try:
        is_ready = lambda: READY in log.read_text()  # noqa: E731
        children.wait_until(is_ready, name="make cluster", child=child, log=log, within_seconds=READY_SECONDS)
        yield
    finally:
        children.stop(child, within_seconds=STOP_SECONDS, number=signal.SIGINT)
    if left := process_identity.of_state(cluster.home):
        raise SetupError(f"processes are left after Ctrl-C: {sorted(left)}")


def manage(cluster: Cluster, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """A management command in the cluster's environment. Raises SetupError when it takes too long."""
    own = os.environ | _environment(cluster) | settings
    command = [sys.executable, "manage.py", *words]
    return children.run(command, within_seconds=COMMAND_SECONDS, environment=own)


def _environment(cluster: Cluster) -> Mapping[str, str]:
    lines = shlex.split(cluster.environment_file.read_text())
    return dict(word.split("=", 1) for word in lines if "=" in word)


def broken_laws(cluster: Cluster) -> list[str]:
    """The laws that the audit finds broken on the primary, each with its offenders. Raises SetupError."""
    return own_stack.broken(own_stack.read_laws(manage(cluster, "audit", "--json")))


def prepare(cluster: Cluster, seen: Observations) -> tuple[Setup, Shop]:
    """Accounts with points, and products. Raises SetupError."""
    tokens = cluster.home.parent / "tokens.json"
    users = load.BUYERS * load.ACCOUNTS_EACH + load.WRITERS_ACCOUNTS
    words = ("seed_demo", "--users", str(users), "--tokens", str(tokens))
    children.printed(manage(cluster, *words, DEMO="1"))
    known = json.loads(tokens.read_text())
    shop = Shop(cluster.instance, known["staff"], seen)
    return shop.stocked(known, "Drill", products=PRODUCTS, on_hand=STOCK, plenty=PLENTY), shop


def new_campaigns(shop: Shop, name: str) -> tuple[list[int], list[int]]:
    """Campaigns for one fault: those of the buyers, and those of the steady writes."""
    own = [
        shop.create_campaign(name, strategy="code_pool", code_source="pool", quantity=FEW_COUPONS),
        shop.create_campaign(name, quantity=FEW_COUPONS),
        shop.create_campaign(name, strategy="queue", quantity=COUPONS),
        shop.create_campaign(name, strategy="redis_gate", quantity=FEW_COUPONS),
    ]
    return own, [shop.create_campaign(name, quantity=COUPONS) for _ in range(2)]
