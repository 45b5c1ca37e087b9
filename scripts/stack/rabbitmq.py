"""RabbitMQ of Debian in a folder of its own, as any user: one node, without an account of the system."""

import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import amqp
from kombu import Connection

from scripts.stack import SetupError, children, places, ports

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own `rabbitmq-server` would change to the user of its service, which can't read our folders."""
PACKAGE = "rabbitmq-server"
START_SECONDS = 90
"""On a busy machine; on an idle one it is 6."""
STOP_SECONDS = 20
QUEUE = "celery"
"""Of Celery's tasks."""
USER = "firstcome"
SETTINGS = """\
listeners.tcp.1 = {host}:{port}
management.tcp.ip = {host}
management.tcp.port = {management_port}
default_user = {user}
default_pass = {password}
default_user_tags.administrator = true
loopback_users = none
# Queues are small: a task is an id.
vm_memory_high_watermark.absolute = 256MiB
disk_free_limit.absolute = 50MiB
log.console = true
log.console.level = warning
log.file = false
"""


def epmd_environment(port: int) -> dict[str, str]:
    """For epmd, Erlang's directory of nodes, and for the nodes that it knows: on loopback alone."""
    return {"ERL_EPMD_PORT": str(port), "ERL_EPMD_ADDRESS": ports.HOST}


def node_environment(folder: Path, name: str, *, epmd_port: int, peers_port: int) -> dict[str, str]:
    """A node's identity, folders and ports. Erlang's own port, too, is bound to loopback alone."""
    erlang = [
        # Sleep rather than spin while there is nothing to do: it shares the processors with everything else.
        *("+S", "2:2", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
        *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
        # Seconds of silence until another node counts as away; by default 60.
        *("-kernel", "net_ticktime", "8"),
        "-noinput",
    ]
    return epmd_environment(epmd_port) | {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"{name}@localhost",
        "RABBITMQ_DIST_PORT": str(peers_port),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(erlang),
        # In the foreground, without a shell around it that would have to pass signals on.
        "RABBITMQ_ALLOW_INPUT": "true",
    }


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that is the whole broker, and its epmd; it keeps its queues over restarts."""

    folder: Path
    first_port: int
    password: str
    name: str = "rabbitmq"

    PORTS = 4

    @property
    def url(self) -> str:
        """What `BROKER_URL` is then."""
        return f"amqp://{USER}:{self.password}@{ports.HOST}:{self.first_port}//"

    @property
    def management_url(self) -> str:
        """Of RabbitMQ's HTTP API."""
        return f"http://{ports.HOST}:{self.first_port + 3}/api"

    @property
    def log(self) -> Path:
        return self.folder / "rabbitmq.log"

    def prepare(self) -> None:
        """Write its settings. Raises SetupError when RabbitMQ isn't installed."""
        if not SERVER.exists():
            line = f"sudo apt-get install -y --no-install-recommends {PACKAGE}"
            raise SetupError(f"{PACKAGE} is missing; run this first: {line}")
        places.private_folder(self.folder)
        own = {"port": self.first_port, "management_port": self.first_port + 3, "host": ports.HOST}
        text = SETTINGS.format(user=USER, password=self.password, **own)
        places.write_whole(self.folder / "rabbitmq.conf", text, mode=0o600)
        places.write_whole(self.folder / "enabled_plugins", "[rabbitmq_management].\n")
        places.write_whole(self.folder / ".erlang.cookie", self.password, mode=0o600)

    def start_epmd(self) -> Popen[bytes]:
        """Start the directory of nodes, which the node needs; it outlives the node's restarts."""
        port = self.first_port + 1
        command = ["epmd", "-port", str(port), "-address", ports.HOST]
        log = self.folder / "epmd.log"
        child = children.start(command, log=log, environment=os.environ | epmd_environment(port))
        children.wait_until((ports.HOST, port), name="epmd", child=child, log=log, within_seconds=20)
        return child

    def start(self) -> Popen[bytes]:
        """Start the node; returns once it takes connections."""
        first = self.first_port
        own = node_environment(self.folder, self.name, epmd_port=first + 1, peers_port=first + 2)
        child = children.start([str(SERVER)], log=self.log, environment=os.environ | own)
        address = (ports.HOST, first)
        children.wait_until(address, name="rabbitmq", child=child, log=self.log, within_seconds=START_SECONDS)
        return child


class RunningNode:
    """A broker of one node that runs, unless it was killed; its queues outlive that."""

    def __init__(self, node: Node) -> None:
        """Write the node's settings, and start it. Raises SetupError."""
        self.node = node
        node.prepare()
        self._epmd = node.start_epmd()
        self._child: Popen[bytes] | None = None
        # Linux ends a child with the thread that started it; a fault's thread ends before the node does.
        self._starter = ThreadPoolExecutor(1)
        self.start()

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a process of the shop with a quorum queue there."""
        return {"BROKER_URL": self.node.url, "BROKER_QUEUE_TYPE": "quorum"}

    def start(self) -> None:
        self._child = self._starter.submit(self.node.start).result()

    def kill(self) -> None:
        """End it like a crash."""
        assert self._child
        self._child.kill()
        self._child.wait()

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing."""
        assert self._child
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on; start it, if it was killed."""
        assert self._child
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGCONT)
        else:
            self.start()

    def end(self) -> None:
        if self._child:
            children.stop(self._child, within_seconds=STOP_SECONDS)
        children.stop(self._epmd)
        self._starter.shutdown()


@contextmanager
def running(folder: Path) -> Iterator[RunningNode]:
    """A broker of its own in this folder. Raises SetupError."""
    node = Node(folder=folder, first_port=ports.free(Node.PORTS), password=secrets.token_hex(20))
    broker = RunningNode(node)
    try:
        yield broker
    finally:
        broker.thaw()
        broker.end()


def has_worker(url: str) -> bool:
    """Whether a worker takes messages from the queue of the RabbitMQ at this address."""
    try:
        with channel_of(url) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).consumer_count) > 0
    except (amqp.NotFound, OSError):
        return False


@contextmanager
def channel_of(url: str) -> Iterator[Any]:
    """A channel of AMQP to the broker at this address. Raises OSError."""
    with Connection(url, connect_timeout=2) as connection, connection.channel() as channel:
        yield channel
