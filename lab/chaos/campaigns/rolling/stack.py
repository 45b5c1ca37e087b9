"""The campaign's stack: first all processes of the previous release, on its schema, behind a balancer."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.chaos.campaigns.rolling import balancer, processes
from lab.chaos.campaigns.rolling.processes import FIRST_WEB_PORT, FRONT, NAMES, STORES, WEB
from lab.cluster.drill import previous_shop
from scripts.stack import (
    children,
    environment as environments,
    instance as instances,
    own_stack,
    places,
    ports,
    readiness,
    supervision,
    waiting,
)
from scripts.stack.instance import Instance
from scripts.stack.processes import OUTSIDE
from scripts.stack.supervision import Program

COMMAND_SECONDS = 600
READY_SECONDS = 240
STOP_SECONDS = 45
"""As Compose's files have it: a web server ends after 35 s at the latest."""
END_SECONDS = 5
"""In the end nothing is waited for: all of it has been settled."""
SETTINGS = {"WEB_WORKERS": "1", "TRUSTED_PROXIES": "1"}
MODULE = "lab.chaos.campaigns.rolling.processes"


def previous(instance: Instance) -> Path:
    """The folder of the previous release's code, from the history of this clone. Raises SetupError."""
    return previous_shop.exported(instance.home / "previous")


@contextmanager
def running(instance: Instance, **settings: str) -> Iterator[None]:
    """The previous release serves, on its own schema; in the end everything is stopped. Raises SetupError."""
    instances.remember(instance)
    for folder in (instance.run, instance.logs, instance.data, instance.static):
        folder.mkdir(parents=True, exist_ok=True)
    first_web_port = ports.free(len(WEB) + 1)
    own = own_stack.own_environment(instance, {**SETTINGS, **settings})
    environment = environments.compose(instance, own) | {FIRST_WEB_PORT: str(first_web_port)}
    balancer.write(instance, first_web_port=first_web_port)
    instance.mariadb().prepare()
    code = previous(instance)
    for name in NAMES:
        processes.set_code(instance, name, code)
    text = supervision.configuration_of(
        _groups(), socket=str(instance.supervisor_socket), is_root=os.getuid() == 0
    )
    try:
        with supervision.supervised(instance, environment, text, stop_seconds=END_SECONDS) as daemon:
            supervision.wait_until_it_answers(instance, daemon)
            readiness.wait_for_stores(instance, [*STORES])
            for words in (["migrate", "--no-input"], ["collectstatic", "--no-input"]):
                children.printed(manage(instance, code, words))
            children.printed(manage(instance, places.PROJECT, ["collectstatic", "--no-input"]))
            for name in [*WEB, FRONT]:
                start(instance, name)
            for name in WEB:
                wait_until_ready(instance, name)
                balancer.wait_until_up(instance, name)
            # These can wait; their start would delay that of the web servers.
            for name in (name for name in NAMES if name not in WEB):
                start(instance, name)
            yield
    finally:
        supervision.clear_leftovers(instance)


def seed(instance: Instance, arguments: str) -> "subprocess.CompletedProcess[str]":
    """A management command of the previous release, which makes the first rows."""
    return manage(instance, previous(instance), arguments.split())


def manage(instance: Instance, code: Path, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """A management command of that release in the stack's environment. Raises SetupError when it takes
    too long."""
    environment = supervision.environment(instance) | {
        "STATIC_ROOT": str(processes.static_folder(instance, code))
    }
    command = [sys.executable, "manage.py", *words]
    return children.run(command, within_seconds=COMMAND_SECONDS, environment=environment, folder=code)


def start(instance: Instance, name: str) -> None:
    supervision.calls(instance).startProcess(_full_name(name), False)


def stop(instance: Instance, name: str) -> None:
    """SIGTERM, and return when the process has ended; after `STOP_SECONDS` it is killed."""
    supervision.calls(instance).stopProcess(_full_name(name), True)


def wait_until_ready(instance: Instance, name: str) -> None:
    """Return once a web server says that it is ready, or another process has become its program."""
    environment = supervision.environment(instance)
    late = f"{name} was not ready {READY_SECONDS} s after its start"
    waiting.until(lambda: _is_ready(instance, name, environment), late, within_seconds=READY_SECONDS)


def _is_ready(instance: Instance, name: str, environment: Mapping[str, str]) -> bool:
    if name in WEB:
        return not readiness.readiness_problem(processes.web_port(name, environment))
    return supervision.states(instance)[name] == "RUNNING"


def _groups() -> Mapping[str, Sequence[Program]]:
    at_once = {"stores": STORES, "outside": OUTSIDE}
    later = {"shop": NAMES, "front": [FRONT]}
    found = {
        group: [Program(name=name, module=MODULE, is_started_at_once=True) for name in names]
        for group, names in at_once.items()
    }
    return found | {
        group: [
            Program(name=name, module=MODULE, is_started_at_once=False, stop_seconds=STOP_SECONDS)
            for name in names
        ]
        for group, names in later.items()
    }


def _full_name(name: str) -> str:
    return f"{'shop' if name in NAMES else 'front'}:{name}"
