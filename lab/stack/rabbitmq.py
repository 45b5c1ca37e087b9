"""RabbitMQ of Debian in a folder of its own, as any user: one node, without an account of the system."""

import os
import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template

from scripts.stack import Settings, children, places, ports, system_packages

# Debian's own `rabbitmq-server` would change to the user of its service, which can't read our folders.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_SECONDS = 90
STOP_SECONDS = 20
USER = "firstcome"
# It sleeps rather than spins while there is nothing to do, for it shares the processors with everything else.
# Another node counts as away after 8 seconds of silence; by default 60.
ERLANG_ARGUMENTS = (
    "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
    "-kernel inet_dist_use_interface {127,0,0,1} -kernel net_ticktime 8 -noinput"
)


def node_environment(folder: Path, name: str, *, epmd_port: int, peers_port: int) -> Settings:
    """A node's identity, folders and ports, which are bound to loopback alone; and those of its epmd."""
    return {
        "HOME": f"{folder}",
        "RABBITMQ_NODENAME": f"{name}@localhost",
        "RABBITMQ_DIST_PORT": f"{peers_port}",
        "ERL_EPMD_PORT": f"{epmd_port}",
        "ERL_EPMD_ADDRESS": ports.HOST,
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
        # In the foreground, without a shell around it that would have to pass signals on.
        "RABBITMQ_ALLOW_INPUT": "true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
    }


class RunningNode:
    """A broker of one node, with its epmd, that runs, unless it was killed; its queues outlive that."""

    def __init__(self, folder: Path) -> None:
        """Write the node's settings, and start it after its directory of nodes. Raises SetupError."""
        system_packages.program("rabbitmq-server")
        self.folder = places.private_folder(folder)
        self.password = secrets.token_hex(20)
        first = ports.free(4)
        self.port, self.epmd_port, self.peers_port, self.management_port = range(first, first + 4)
        self.url = f"amqp://{USER}:{self.password}@{ports.HOST}:{self.port}//"
        self.settings = {"BROKER_URL": self.url, "BROKER_QUEUE_TYPE": "quorum"}
        template = Template(Path(__file__).with_name("rabbitmq.conf").read_text())
        filled = template.substitute(vars(self), host=ports.HOST, user=USER)
        places.write_whole(folder / "rabbitmq.conf", filled, mode=0o600)
        places.write_whole(folder / "enabled_plugins", "[rabbitmq_management].\n")
        places.write_whole(folder / ".erlang.cookie", self.password, mode=0o600)
        command = ["epmd", "-port", str(self.epmd_port), "-address", ports.HOST]
        log = folder / "epmd.log"
        self._environment = os.environ | node_environment(
            folder, "rabbitmq", epmd_port=self.epmd_port, peers_port=self.peers_port
        )
        self._epmd = children.start(command, log=log, environment=self._environment)
        children.wait_until(
            (ports.HOST, self.epmd_port), name="epmd", child=self._epmd, log=log, within_seconds=20
        )
        # Linux ends a child with the thread that started it; a fault's thread ends before the node does.
        self._starter = ThreadPoolExecutor(1)
        self.start()

    def start(self) -> None:
        log = self.folder / "rabbitmq.log"
        self._child = self._starter.submit(
            children.start, [SERVER], log=log, environment=self._environment
        ).result()
        children.wait_until(
            (ports.HOST, self.port), name="rabbitmq", child=self._child, log=log, within_seconds=START_SECONDS
        )

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
        self._child.send_signal(signal.SIGCONT)  # a frozen one would not end
        children.stop(self._child, within_seconds=STOP_SECONDS)
        children.stop(self._epmd)
        self._starter.shutdown()
