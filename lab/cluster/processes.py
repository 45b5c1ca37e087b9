"""What runs in the cluster: the command line and the environment of each process, by name.

`python -m lab.cluster.processes NAME`, which supervisor starts, writes its id, prepares what the program
needs, and becomes the program: the id is the program's own.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.cluster import layout, templates
from lab.cluster.layout import Cluster
from scripts.stack import (
    children,
    debian,
    environment as environments,
    places,
    processes as stack_processes,
    rabbitmq,
    system_packages,
)

CONTROL_GROUPS = "FIRSTCOME_CONTROL_GROUPS"
"""In the environment of a drill's cluster: the folder of the control groups, one for each process."""
DEFAULTS = {
    # A failover takes up to ten seconds. A payment that gives up within it could neither be charged nor
    # cancelled, and its saga would be stuck until the database is back.
    "PAYMENT_GIVE_UP_SECONDS": "60",
    # One process each: there are three nodes, and two of them outlive the third.
    "WEB_WORKERS": "1",
    # For each node. Together with the rest they need fewer connections than a member allows.
    "WEB_THREADS": "32",
    # HAProxy names the client, and no other header may.
    "TRUSTED_PROXIES": "1",
}
"""What differs from `make run`, unless the user says otherwise."""


def compose(cluster: Cluster, own: Mapping[str, str]) -> dict[str, str]:
    """The user's own settings, except for those that lead to the cluster's servers. Raises SetupError."""
    redis, sentinel = cluster.password("redis"), cluster.password("sentinel")
    sentinels = ",".join(cluster.addresses("sentinel"))
    database = f"firstcome:{cluster.password('mysql-shop')}@{cluster.address('database')}/firstcome"
    broker = f"amqp://firstcome:{cluster.password('rabbitmq')}"
    return environments.compose(cluster.instance, {**DEFAULTS, **own}) | {
        # Seconds until a statement counts as lost. The watch notices a server that hangs within four.
        "DATABASE_URL": f"mysql://{database}?read_timeout=10",
        "REDIS_URL": f"redis+sentinel://:{redis}@{sentinels}/primary/0?sentinel_password={sentinel}",
        "BROKER_URL": ";".join(f"{broker}@{address}//" for address in cluster.addresses("rabbitmq")),
        "BROKER_QUEUE_TYPE": "quorum",
        "METRICS_TOKEN": places.secret(cluster.home, "metrics-token"),
        "FIRSTCOME_VAR": str(cluster.home.parent),
    }


def command(name: str, cluster: Cluster, environment: Mapping[str, str]) -> stack_processes.Command:
    """The command line of the process in the foreground."""
    kind, _ = layout.split(name)
    if not (words := next(kinds[kind] for kinds in layout.PROGRAMS.values() if kind in kinds)):
        line = stack_processes.command(kind, cluster.instance, environment)
        # Workers need names of their own on one machine.
        return [*line, "--hostname", f"{name}@cluster"] if kind == "worker" else line
    known = {"python": sys.executable, "folder": cluster.folder(name), "settings": cluster.settings}
    known |= {"address": cluster.address(name)} if kind in layout.SIZES else {}
    line = [word.format_map({**environment, **known}) for word in words.split()]
    return debian.MYSQL.command(*line) if kind in ("mysql", "router") else line


def own_environment(name: str, cluster: Cluster) -> dict[str, str]:
    """What the process has in its environment beside what all have."""
    kind, number = layout.split(name)
    match kind:
        case "web":
            own = {"PROMETHEUS_MULTIPROC_DIR": str(cluster.instance.metrics / name)}
        case "worker" | "issuer" | "beat":
            own = {"METRICS_PORT": str(cluster.port(name))}
        case "epmd":
            own = rabbitmq.epmd_environment(cluster.port("epmd"))
        case "rabbitmq":
            epmd, peers = cluster.port("epmd"), cluster.port(f"rabbitmq-peers-{number}")
            own = rabbitmq.node_environment(cluster.folder(name), name, epmd_port=epmd, peers_port=peers)
            own["RABBITMQ_ENABLED_PLUGINS_FILE"] = str(templates.FOLDER / "rabbitmq_plugins")
        case "redis-exporter":
            own = {"REDIS_ADDR": cluster.address("redis-1"), "REDIS_PASSWORD": cluster.password("redis")}
        case "mysql-exporter":
            account = f"exporter:{cluster.password(kind)}"
            own = {"DATA_SOURCE_NAME": f"{account}@({cluster.address(f'mysql-{number}')})/"}
        case _:
            own = {}
    # Each process of a kind begins with another node of the broker.
    nodes = os.environ["BROKER_URL"].split(";")
    broker = ";".join(nodes[number - 1 :] + nodes[: number - 1])
    return own | {"PATH": system_packages.SEARCH_PATH, "BROKER_URL": broker}


def prepare(name: str, cluster: Cluster) -> None:
    """What has to be there before the program starts, and may have gone since it ran last."""
    folder, metrics = cluster.folder(name), cluster.instance.metrics / name
    folder.mkdir(parents=True, exist_ok=True)
    match layout.split(name)[0]:
        case "mysql" if not (folder / "data").exists():
            # Moved to its place: a kill leaves no half.
            (folder / "tmp").mkdir(exist_ok=True)
            copy = folder / "data.unfinished"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(cluster.folder("mysql-first"), copy)
            (copy / "auto.cnf").write_text(f"[auto]\nserver-uuid={templates.member_uuid(name)}\n")
            copy.rename(folder / "data")
        case "router":
            templates.write(cluster, folder / "router-state.json")
            for file in ("key", "keyring"):
                (folder / file).unlink(missing_ok=True)
            keyring = (f"--master-key-file={folder / 'key'}", str(folder / "keyring"))
            _run("mysqlrouter_keyring", "init", *keyring)
            password = cluster.password("mysql-router")
            _run("mysqlrouter_keyring", "set", *keyring, "router", "password", text=f"{password}\n")
        case "rabbitmq":
            places.write_whole(folder / ".erlang.cookie", cluster.password("erlang-cookie"), mode=0o600)
        case "web":
            # Values of a process that has ended must not be added up.
            shutil.rmtree(metrics, ignore_errors=True)
            metrics.mkdir(parents=True)


def make_first_data(cluster: Cluster) -> None:
    """What MySQL's members begin with: system tables, accounts, Router's metadata, and no transaction."""
    first, unfinished = cluster.folder("mysql-first"), cluster.folder("mysql-first.unfinished")
    if not first.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        templates.write(cluster, script := cluster.settings / "member.sql")
        own = (f"--datadir={unfinished}", f"--init-file={script}", "--innodb-redo-log-capacity=8M")
        _run("mysqld", "--no-defaults", "--initialize-insecure", "--user=root", *own)
        script.unlink()
        unfinished.rename(first)


def _run(*words: str, text: str = "") -> None:
    children.printed(children.run(debian.MYSQL.command(*words), within_seconds=300, text=text))


def code_of(cluster: Cluster, name: str) -> Path:
    """While this file is there, the process starts with the code in the folder that it names."""
    return cluster.settings / f"{name}.code"


def main() -> None:
    name, cluster = sys.argv[1], layout.remembered()
    stack_processes.take_place(cluster.instance.run, name)
    if groups := os.environ.get(CONTROL_GROUPS):
        # This process, and all that it becomes and starts, can be cut off by the rules of its group.
        group = Path(groups) / name
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))
    prepare(name, cluster)
    environment = {**os.environ, **own_environment(name, cluster)}
    line = command(name, cluster, environment)
    if (code := code_of(cluster, name)).exists():
        os.chdir(code.read_text())
    elif layout.split(name)[0] in ("epmd", "rabbitmq"):
        # Erlang writes what it leaves of a crash into the folder in which it runs.
        os.chdir(cluster.folder(name))
    os.execvpe(line[0], line, environment)


if __name__ == "__main__":
    main()
