"""What runs in the campaign: the command line of each process, by name, and whose code it runs.

`python -m lab.chaos.campaigns.rolling.processes NAME`, which supervisor starts, becomes the program. The
shop's processes run the code of the folder that `set_code` has named for them.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.chaos.campaigns.rolling import balancer
from scripts.stack import instance as instances, places, ports, process_identity, processes
from scripts.stack.instance import Instance

WEB = ("web-1", "web-2")
NAMES = (*WEB, "worker-1", "worker-2", "beat-1", "beat-2", "issuer-1", "issuer-2")
"""The shop's own: two of each kind, so that one works while the other is replaced."""
STORES = ("redis", "mariadb")
FRONT = "front"
FIRST_WEB_PORT = "FIRST_WEB_PORT"
"""In the environment: the port of web-1; those of web-2 and of the balancer's statistics follow."""
CONNECTIONS = 600
"""Of the database: for twice the processes of a stack."""


def web_port(name: str, environment: Mapping[str, str]) -> int:
    """The port on which this web server listens behind the balancer."""
    return int(environment[FIRST_WEB_PORT]) + WEB.index(name)


def set_code(instance: Instance, name: str, code: Path) -> None:
    """Have the process run the code of this folder from its next start on."""
    places.write_whole(_code_file(instance, name), str(code))


def running_code(instance: Instance, name: str) -> Path | None:
    """The folder whose code the process runs; None while there is no process."""
    leader = process_identity.leader_of(instance.run, name)
    try:
        return Path(f"/proc/{leader}/cwd").readlink() if leader else None
    except FileNotFoundError:
        return None


def static_folder(instance: Instance, code: Path) -> Path:
    """The collected static files of that release."""
    return instance.static if code == places.PROJECT else instance.home / "static-of-previous"


def command(name: str, instance: Instance) -> processes.Command:
    """The command line of the process in the foreground. Raises SetupError where its program is missing."""
    kind = name.partition("-")[0]
    match kind:
        case "mariadb":
            return instance.mariadb(max_connections=CONNECTIONS).command()
        case "front":
            return balancer.command(instance)
        case "web":
            # Its usual time to stop, as in production.
            port = web_port(name, os.environ)
            if Path("shop/server").is_dir():
                # The previous release's own server.
                address = ("--host", ports.HOST, "--port", str(port))
                return [sys.executable, "-m", "shop.web_server", "--workers", "1", *address]
            return processes.web_server(port, "--workers", "1")
        case "worker":
            return [*processes.command(kind, instance, os.environ), "--hostname", f"{name}@releases"]
        case "beat":
            schedule = ("--schedule", str(instance.data / f"{name}-schedule"), "--pidfile", "")
            return [sys.executable, "-m", "celery", "-A", "shop", "beat", *schedule]
    return processes.command(kind, instance, os.environ)


def _code_file(instance: Instance, name: str) -> Path:
    return instance.home / f"{name}.code"


def main() -> None:
    name = sys.argv[1]
    instance = instances.remembered(places.state())
    assert instance is not None, "the stack remembers the instance before it starts supervisor"
    processes.take_place(instance.run, name)
    environment = dict(os.environ)
    if name in NAMES:
        code = Path(_code_file(instance, name).read_text())
        environment["STATIC_ROOT"] = str(static_folder(instance, code))
        os.chdir(code)
    line = command(name, instance)
    if name in WEB:
        metrics = instance.metrics / name
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
    os.execve(line[0], line, environment)


if __name__ == "__main__":
    main()
