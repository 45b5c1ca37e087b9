"""Three nodes of RabbitMQ, and the directory of Erlang nodes (epmd) by which they find one another."""

from lab.cluster import credentials, layout, templates
from lab.cluster.layout import Cluster
from scripts.stack import places, ports, rabbitmq, system_packages
from scripts.stack.processes import Command


def command(cluster: Cluster, kind: str) -> Command:
    """The server, or epmd, in the foreground."""
    if kind == "epmd":
        return [system_packages.program("epmd"), "-port", str(cluster.port("epmd")), "-address", ports.HOST]
    system_packages.program("rabbitmq-server")
    return [str(rabbitmq.SERVER)]


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
    """A node's identity, folders and ports, or those of epmd."""
    if kind == "epmd":
        return rabbitmq.epmd_environment(cluster.port("epmd"))
    return rabbitmq.node_environment(
        cluster.folder(f"rabbitmq-{number}"),
        f"rabbitmq-{number}",
        epmd_port=cluster.port("epmd"),
        peers_port=cluster.port("rabbitmq-peers", number),
    )
