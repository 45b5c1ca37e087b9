"""Faults of the network between the shop and what it calls: a proxy of each link has them."""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from urllib.parse import quote

from lab.chaos.campaigns.network.proxy import State
from scripts.stack import children, places, ports
from scripts.stack.environment import OWN_STORES
from scripts.stack.instance import Instance
from scripts.stack.mariadb import DATABASE, USER
from scripts.stack.processes import WEBHOOK_LISTENER

LINKS = ("database", "redis", "gateway", "sink", "partner", "webhooks")
"""The servers that the shop calls (Redis is its broker as well), and the gateway's calls of the shop."""
STORES = {"database": "mariadb", "redis": "redis"}
"""What the instance calls the servers that it starts itself."""
CONTROL_SECONDS = 10


@contextmanager
def beside(instance: Instance, links: Sequence[str]) -> Iterator[dict[str, str]]:
    """Inside the block a proxy listens for each of these links; yields the settings that lead through it."""
    if not links:
        yield {}
        return
    instance.run.mkdir(parents=True, exist_ok=True)
    first = ports.free(len(links))
    port = {name: first + number for number, name in enumerate(links)}
    targets = _targets(instance)
    control, log = _control(instance), instance.home / "network.log"
    words = [f"{name}={port[name]}:{targets[name]}" for name in links]
    command = [
        sys.executable,
        "-m",
        "lab.chaos.campaigns.network.proxy",
        "--control",
        str(control),
        *words,
    ]
    with children.running(command, name="proxy", log=log, is_ready=str(control)):
        yield _settings(instance, port)


def _targets(instance: Instance) -> dict[str, str]:
    server = instance.mariadb()
    return {
        "database": str(server.socket),
        "redis": str(instance.redis_socket),
        "gateway": f"{ports.HOST}:{instance.gateway_port}",
        "sink": f"{ports.HOST}:{instance.data_platform_port}",
        "partner": f"{ports.HOST}:{instance.partner_port}",
        "webhooks": f"{ports.HOST}:{instance.port}",
    }


def _settings(instance: Instance, port: Mapping[str, int]) -> dict[str, str]:
    """The settings that lead to the ports of the proxy, for the links that have one."""
    address = {name: f"{ports.HOST}:{number}" for name, number in port.items()}
    by_link = {
        "database": ["DATABASE_URL=mysql://{user}:{password}@{address}/{database}"],
        "redis": ["REDIS_URL=redis://{address}/0", "BROKER_URL=redis://{address}/1"],
        "gateway": ["GATEWAY_URL=http://{address}"],
        "sink": ["DATA_PLATFORM_URL=http://{address}"],
        "partner": ["PARTNER_URL=http://{address}"],
        "webhooks": [WEBHOOK_LISTENER + "=http://{address}"],
    }
    account = {"user": USER, "password": quote(instance.mariadb().password), "database": DATABASE}
    found = [
        setting.format(address=address[name], **account).split("=", 1)
        for name in port
        for setting in by_link[name]
    ]
    stores = " ".join(store for name, store in STORES.items() if name in port)
    return {**dict(found), OWN_STORES: stores}


@contextmanager
def _link_in(state: State, name: str, instance: Instance) -> Iterator[None]:
    """Inside the block the link is in this state."""
    _set_state(instance, name, state)
    try:
        yield
    finally:
        _set_state(instance, name, State.PASS)


def _set_state(instance: Instance, name: str, state: State) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(CONTROL_SECONDS)
        control.connect(str(_control(instance)))
        control.sendall(f"{name} {state}\n".encode())
        if control.recv(16) != b"ok\n":
            raise OSError(f"the proxy did not take {name} {state}")


def _control(instance: Instance) -> "os.PathLike[str]":
    return places.socket_path(instance.home, "network.sock")


SORTS = {
    "slow link to": State.SLOW,
    "cut link to": State.CUT,
    "cut replies of": State.CUT_REPLIES,
    "half-open link to": State.HALF_OPEN,
    "late bytes to": State.LATE,
    "single bytes to": State.BYTEWISE,
    "reordered calls of": State.OVERTAKE,
    "lost commits in": State.LOSE_COMMITS,
}
LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    sort: partial(_link_in, state) for sort, state in SORTS.items()
}
"""Faults that last until they are undone."""
