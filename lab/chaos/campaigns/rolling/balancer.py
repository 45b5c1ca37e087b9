"""The HAProxy before the two web servers: a cluster's settings of it, and draining by its control socket."""

import csv
import io
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from string import Template

from lab.cluster import templates
from scripts.stack import places, ports, system_packages, waiting
from scripts.stack.instance import Instance

SETTINGS = templates.FOLDER / "haproxy-front.cfg"
BACKENDS = ("ready", "alive")
ANSWER_SECONDS = 5
DRAIN_SECONDS = 35
"""The longest `Prefer: wait`, and some."""
UP_SECONDS = 30
COUNTED = {
    "wretr": "tried again",
    "wredis": "sent to the other",
    "econ": "not connected",
    "eresp": "broken off",
}
"""HAProxy's counters of a server, and what a report calls them."""


def write(instance: Instance, *, first_web_port: int) -> None:
    """Write the settings: those of a cluster's front, without its third web server."""
    text = "".join(
        line for line in SETTINGS.read_text().splitlines(keepends=True) if "server web-3" not in line
    )
    known = {
        "host": ports.HOST,
        "settings": str(templates.FOLDER),
        "front_port": instance.port,
        "web_1_port": first_web_port,
        "web_2_port": first_web_port + 1,
        "front_statistics_port": first_web_port + 2,
    }
    places.write_whole(
        _files(instance)[0], f"global\n  stats socket {_socket(instance)} mode 600 level admin\n"
    )
    places.write_whole(_files(instance)[1], Template(text).substitute(known))


def command(instance: Instance) -> list[str]:
    """HAProxy in the foreground. Raises SetupError where it is not installed."""
    control, front = _files(instance)
    return [system_packages.program("haproxy"), "-db", "-f", str(control), "-f", str(front)]


def drain(instance: Instance, name: str) -> None:
    """Send the web server no more requests; return when it has none under way, or after `DRAIN_SECONDS`."""
    for backend in BACKENDS:
        _ask(instance, f"set server {backend}/{name} state drain")
    waiting.left(lambda: _under_way(instance, name), within_seconds=DRAIN_SECONDS)


def admit(instance: Instance, name: str) -> None:
    """Send the web server requests again; return once it gets them. Raises SetupError when it doesn't."""
    for backend in BACKENDS:
        _ask(instance, f"set server {backend}/{name} state ready")
    wait_until_up(instance, name)


def _is_up(instance: Instance, name: str) -> bool:
    try:
        return rows(instance)["ready", name]["status"] == "UP"
    except (FileNotFoundError, ConnectionRefusedError):
        # HAProxy makes its control socket after it listens to clients.
        return False


def wait_until_up(instance: Instance, name: str) -> None:
    """Return once the balancer has found the web server ready. Raises SetupError."""
    late = f"the balancer has not found {name} ready within {UP_SECONDS} s"
    waiting.until(lambda: _is_up(instance, name), late, within_seconds=UP_SECONDS)


def requests(instance: Instance, name: str) -> int:
    """How many requests the web server has been sent."""
    found = rows(instance)
    return sum(int(found[backend, name]["stot"]) for backend in BACKENDS)


def troubles(instance: Instance) -> dict[str, int]:
    """How often a request met a web server that was stopping, by what happened to it, for all of them."""
    found = [
        row for (backend, name), row in rows(instance).items() if backend in BACKENDS and name != "BACKEND"
    ]
    return {word: sum(int(row[counter] or 0) for row in found) for counter, word in COUNTED.items()}


def rows(instance: Instance) -> Mapping[tuple[str, str], dict[str, str]]:
    """HAProxy's statistics, by backend and server."""
    text = _ask(instance, "show stat").removeprefix("# ")
    return {(row["pxname"], row["svname"]): row for row in csv.DictReader(io.StringIO(text))}


def _under_way(instance: Instance, name: str) -> int:
    found = rows(instance)
    return sum(int(found[backend, name]["scur"]) for backend in BACKENDS)


def _ask(instance: Instance, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(ANSWER_SECONDS)
        control.connect(os.fspath(_socket(instance)))
        control.sendall(f"{line}\n".encode())
        return b"".join(iter(lambda: control.recv(65_536), b"")).decode()


def _socket(instance: Instance) -> Path:
    return places.socket_path(instance.run, "haproxy.sock")


def _files(instance: Instance) -> tuple[Path, Path]:
    return instance.home / "haproxy-control.cfg", instance.home / "haproxy-front.cfg"
