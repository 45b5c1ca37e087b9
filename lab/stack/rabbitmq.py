"""RabbitMQ of Debian in a folder of its own, as any user: one node, without an account of the system."""

import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from scripts.stack import children, places, ports, system_packages

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's own `rabbitmq-server` would change to the user of its service, which can't read our folders."""
START_SECONDS, STOP_SECONDS = 90, 20
USER = "firstcome"
SETTINGS = f"""\
listeners.tcp.1 = {ports.HOST}:{{0.port}}
management.tcp.ip = {ports.HOST}
management.tcp.port = {{0.management_port}}
default_user = {USER}
default_pass = {{0.password}}
default_user_tags.administrator = true
loopback_users = none
# Queues are small: a task is an id.
vm_memory_high_watermark.absolute = 256MiB
disk_free_limit.absolute = 50MiB
log.console = true
log.file = false
"""
FILES = {"CONFIG_FILE": "rabbitmq.conf", "ENABLED_PLUGINS_FILE": "enabled_plugins", "MNESIA_BASE": "mnesia"}
FILES |= {"ADVANCED_CONFIG_FILE": "advanced.config", "CONF_ENV_FILE": "rabbitmq-env.conf"}
FILES |= {"LOG_BASE": "log", "PID_FILE": "pid", "GENERATED_CONFIG_DIR": "generated"}
# Sleep rather than spin while there is nothing to do: it shares the processors with everything else.
ERLANG = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
# Seconds of silence until another node counts as away; by default 60.
ERLANG += " -kernel net_ticktime 8 -noinput"


def epmd_environment(port: int) -> dict[str, str]:
    """For epmd, Erlang's directory of nodes, and for the nodes that it knows: on loopback alone."""
    return {"ERL_EPMD_PORT": str(port), "ERL_EPMD_ADDRESS": ports.HOST}


def node_environment(folder: Path, name: str, *, epmd_port: int, peers_port: int) -> dict[str, str]:
    """A node's identity, folders and ports. Erlang's own port, too, is bound to loopback alone."""
    own = {f"RABBITMQ_{what}": str(folder / file) for what, file in FILES.items()}
    return {
        **epmd_environment(epmd_port),
        **own,
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"{name}@localhost",
        "RABBITMQ_DIST_PORT": str(peers_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        # In the foreground, without a shell around it that would have to pass signals on.
        "RABBITMQ_ALLOW_INPUT": "true",
    }


class RunningNode:
    """A broker of one node, with its epmd, that runs, unless it was killed; its queues outlive that."""

    def __init__(self, folder: Path) -> None:
        """Write the node's settings, and start it after its directory of nodes. Raises SetupError."""
        system_packages.program("rabbitmq-server")
        self.folder, self.password = places.private_folder(folder), secrets.token_hex(20)
        first = ports.free(4)
        self.port, self.epmd_port, self.peers_port, self.management_port = range(first, first + 4)
        # What `BROKER_URL` is then.
        self.url = f"amqp://{USER}:{self.password}@{ports.HOST}:{self.port}//"
        places.write_whole(folder / "rabbitmq.conf", SETTINGS.format(self), mode=0o600)
        places.write_whole(folder / "enabled_plugins", "[rabbitmq_management].\n")
        places.write_whole(folder / ".erlang.cookie", self.password, mode=0o600)
        command, log = ["epmd", "-port", str(self.epmd_port), "-address", ports.HOST], folder / "epmd.log"
        own, address = os.environ | epmd_environment(self.epmd_port), (ports.HOST, self.epmd_port)
        self._epmd = children.start(command, log=log, environment=own)
        children.wait_until(address, name="epmd", child=self._epmd, log=log, within_seconds=20)
        # Linux ends a child with the thread that started it; a fault's thread ends before the node does.
        self._starter = ThreadPoolExecutor(1)
        self.start()

    @property
    def settings(self) -> dict[str, str]:
        return {"BROKER_URL": self.url, "BROKER_QUEUE_TYPE": "quorum"}

    def start(self) -> None:
        log, own = self.folder / "rabbitmq.log", {"epmd_port": self.epmd_port, "peers_port": self.peers_port}
        environment = os.environ | node_environment(self.folder, "rabbitmq", **own)
        starting = self._starter.submit(children.start, [SERVER], log=log, environment=environment)
        self._child, within = starting.result(), {"within_seconds": START_SECONDS}
        children.wait_until((ports.HOST, self.port), name="rabbitmq", child=self._child, log=log, **within)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def freeze(self) -> None:
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on; start it, if it was killed."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGCONT)
        else:
            self.start()

    def end(self) -> None:
        children.stop(self._child, within_seconds=STOP_SECONDS)
        children.stop(self._epmd)
        self._starter.shutdown()


@contextmanager
def running(folder: Path) -> Iterator[RunningNode]:
    broker = RunningNode(folder)
    try:
        yield broker
    finally:
        broker.thaw()
        broker.end()
