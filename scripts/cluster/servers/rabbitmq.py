"""Three nodes of RabbitMQ, and the directory of Erlang nodes (epmd) by which they find one another."""

from scripts.cluster import credentials, layout, packages, templates
from scripts.cluster.layout import Cluster
from scripts.stack import places, ports
from scripts.stack.processes import Command

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's own `rabbitmq-server` would change to the user of its service, which can't read our folders."""


def command(cluster: Cluster, kind: str) -> Command:
    """The server, or epmd, in the foreground."""
    if kind == "epmd":
        return [packages.program("epmd"), "-port", str(cluster.port("epmd")), "-address", ports.HOST]
    packages.program("rabbitmq-server")
    return [SERVER]


def prepare(cluster: Cluster) -> None:
    """Write the settings of all nodes, and the secret by which they know one another."""
    for number in layout.numbers("rabbitmq"):
        folder = places.private_folder(cluster.folder(f"rabbitmq-{number}"))
        own = {
            "port": cluster.port("rabbitmq", number),
            "management_port": cluster.port("rabbitmq-management", number),
            "metrics_port": cluster.port("rabbitmq-metrics", number),
        }
        templates.write(folder / "rabbitmq.conf", "rabbitmq.conf", cluster, number=number, **own)
        templates.write(folder / "enabled_plugins", "rabbitmq_plugins", cluster)
        cookie = folder / ".erlang.cookie"
        places.write_whole(cookie, credentials.read(cluster)["erlang-cookie"], mode=0o600)


def environment(cluster: Cluster, kind: str, number: int) -> dict[str, str]:
    """A node's identity, folders and ports. Erlang's own port, too, is bound to loopback alone."""
    own = {"ERL_EPMD_PORT": str(cluster.port("epmd")), "ERL_EPMD_ADDRESS": ports.HOST}
    if kind == "epmd":
        return own
    folder = cluster.folder(f"rabbitmq-{number}")
    erlang = [
        # Sleep rather than spin while there is nothing to do: three nodes share the processors with
        # everything else.
        *("+S", "2:2", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
        *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
        # Seconds of silence until another node counts as away; by default 60.
        *("-kernel", "net_ticktime", "8"),
        "-noinput",
    ]
    return own | {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"rabbitmq-{number}@localhost",
        "RABBITMQ_DIST_PORT": str(cluster.port("rabbitmq-peers", number)),
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
