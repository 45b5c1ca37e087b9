"""What runs in the cluster: the command line and the environment of each process, by name.

`python -m lab.cluster.processes NAME`, which supervisor starts, writes its id, prepares what the program
needs, and becomes the program: the id is the program's own.
"""

import os
import shutil
import sys
from pathlib import Path

from lab.cluster import layout
from lab.cluster.layout import Cluster
from lab.stack import rabbitmq
from scripts.stack import (
    Environment,
    Settings,
    children,
    environment as environments,
    places,
    processes,
    system_packages,
)

# In the environment of a drill's cluster: the folder of the control groups, one for each process.
CONTROL_GROUPS = "FIRSTCOME_CONTROL_GROUPS"
# While a process has this link in its folder, it starts with the code of the folder that it leads to.
CODE = "code"
SETTINGS = layout.declared("shop.toml")


def compose(cluster: Cluster, own: Environment) -> Settings:
    """The user's own settings, except for those that lead to the cluster's servers. Raises SetupError."""
    users = environments.compose(cluster, {**SETTINGS["defaults"], **own})
    servers = {name: layout.filled(cluster, text) for name, text in SETTINGS["servers"].items()}
    return {
        **users,
        **servers,
        "METRICS_TOKEN": places.secret(cluster.home, "metrics-token"),
        "FIRSTCOME_VAR": str(cluster.home.parent),
    }


def prepare(cluster: Cluster, name: str, folder: Path) -> None:
    """What has to be there before the program starts, and may have gone since it ran last."""
    folder.mkdir(parents=True, exist_ok=True)
    match layout.split(name)[0]:
        case "mysql" if not (folder / "data").exists():
            # System tables, accounts and Router's metadata, moved to their place: a kill leaves no half.
            (folder / "tmp").mkdir(exist_ok=True)
            made = folder / "data.unfinished"
            script = cluster.settings / "member.sql"
            shutil.rmtree(made, ignore_errors=True)
            own = (f"--datadir={made}", f"--init-file={script}", "--innodb-redo-log-capacity=8M")
            _run("mysqld", "--no-defaults", "--initialize-insecure", "--user=root", *own)
            (made / "auto.cnf").write_text(f"[auto]\nserver-uuid={layout.member_uuid(name)}\n")
            made.rename(folder / "data")
        case "router":
            layout.write(cluster, folder / "router-state.json", name)
            for file in ("key", "keyring"):
                (folder / file).unlink(missing_ok=True)
            keyring = (f"--master-key-file={folder / 'key'}", f"{folder}/keyring")
            _run("mysqlrouter_keyring", "init", *keyring)
            password = f"{cluster.password('mysql-router')}\n"
            _run("mysqlrouter_keyring", "set", *keyring, "router", "password", text=password)
        case "rabbitmq":
            places.write_whole(folder / ".erlang.cookie", cluster.password("erlang-cookie"), mode=0o600)
        case "web":
            # Values of a process that has ended must not be added up.
            shutil.rmtree(cluster.metrics / name, ignore_errors=True)
            (cluster.metrics / name).mkdir(parents=True)


def _run(*words: str, text: str = "") -> None:
    children.printed(children.run(system_packages.MYSQL.command(*words), within_seconds=300, text=text))


def main() -> None:
    name = sys.argv[1]
    cluster = layout.remembered()
    kind, number = layout.split(name)
    spec = layout.PROGRAMS[name]
    folder = cluster.folder(name)
    processes.take_place(cluster.run, name)
    groups = os.environ.get(CONTROL_GROUPS)
    if groups:
        # This process, and all that it becomes and starts, can be cut off by the rules of its group.
        group = Path(groups) / name
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))
    prepare(cluster, name, folder)
    filled = lambda text: layout.filled(cluster, text, name)  # noqa: E731
    environment = os.environ | {"PATH": system_packages.SEARCH_PATH}
    # Each process of a kind begins with another node of the broker.
    nodes = os.environ["BROKER_URL"].split(";")
    environment["BROKER_URL"] = ";".join(nodes[number - 1 :] + nodes[: number - 1])
    if kind == "rabbitmq":
        epmd = cluster.port_of("epmd")
        peers = cluster.port_of(f"rabbitmq-peers-{number}")
        environment |= rabbitmq.node_environment(folder, name, epmd_port=epmd, peers_port=peers)
    environment |= {key: filled(text) for key, text in spec.environment.items()}
    line = [*map(filled, spec.command)] or [*processes.command(kind, cluster, environment)]
    line += map(filled, spec.options)
    line = system_packages.MYSQL.command(*line) if spec.in_root else line
    code = folder / CODE
    if code.exists():
        os.chdir(code)
    elif kind in ("epmd", "rabbitmq"):
        # Erlang writes what it leaves of a crash into the folder in which it runs.
        os.chdir(folder)
    os.execvpe(line[0], line, environment)


if __name__ == "__main__":
    main()
