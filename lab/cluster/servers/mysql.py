"""The processes of MySQL: three members and two Routers, in the Debian root."""

import fcntl
import json
import re
import shutil
from pathlib import Path

from lab.cluster import credentials, layout, templates
from lab.cluster.layout import Cluster
from lab.cluster.servers import debian_root
from scripts.stack import places, ports
from scripts.stack.processes import Command

FIRST_DATA = "first-data"
"""In the cluster's folder `mysql`: system tables, accounts and Router's metadata, and no transaction."""


def member_command(number: int) -> Command:
    """mysqld of one member, after `prepare_member` in the same process."""
    return debian_root.command("mysqld", f"--defaults-file={_inside(_member(number), 'my.cnf')}")


def prepare_member(cluster: Cluster, number: int) -> None:
    """Write its settings, and make its data folder if there is none. Raises SetupError."""
    debian_root.enter(cluster.mysql)
    home = places.private_folder(cluster.mysql / _member(number))
    (home / "tmp").mkdir(exist_ok=True)
    own_ports = {"port": cluster.port("mysql", number), "group_port": cluster.port("mysql-group", number)}
    templates.write(home / "my.cnf", "member.cnf", cluster, number=number, **own_ports)
    if not (home / "data").exists():
        _make_data(cluster, number, home)


def _make_data(cluster: Cluster, number: int, home: Path) -> None:
    """Copy the data that all members begin with. It is moved to its place: a kill leaves no half."""
    with (cluster.mysql / "lock").open("w") as lock:
        # The member that comes first makes it, and the others wait: to make it takes longer than to copy it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = cluster.mysql / FIRST_DATA
        if not first.exists():
            _make_first_data(cluster)
    unfinished = home / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(first, unfinished)
    (unfinished / "auto.cnf").write_text(f"[auto]\nserver-uuid={templates.member_uuid(number)}\n")
    unfinished.rename(home / "data")


def _make_first_data(cluster: Cluster) -> None:
    unfinished, script = f"{FIRST_DATA}.unfinished", f"{FIRST_DATA}.sql"
    shutil.rmtree(cluster.mysql / unfinished, ignore_errors=True)
    statements = one_statement_a_line(templates.render("member.sql", cluster))
    places.write_whole(cluster.mysql / script, statements, mode=0o600)
    made = [
        "mysqld",
        "--no-defaults",
        "--initialize-insecure",
        "--user=root",
        "--innodb-redo-log-capacity=8M",
    ]
    made += [f"--datadir={debian_root.INSIDE}/{unfinished}", f"--init-file={debian_root.INSIDE}/{script}"]
    debian_root.run(made)
    (cluster.mysql / script).unlink()
    (cluster.mysql / unfinished / "auto.cnf").unlink(missing_ok=True)
    (cluster.mysql / unfinished).rename(cluster.mysql / FIRST_DATA)


def one_statement_a_line(script: str) -> str:
    """The script as mysqld reads it at its start: without comments, and each statement on a line."""
    bare = re.sub(r"^\s*--.*\n", "", script, flags=re.MULTILINE)
    statements = re.split(r";[ \t]*\n", bare)
    return "".join(f"{' '.join(statement.split())};\n" for statement in statements if statement.strip())


def router_command(number: int) -> Command:
    """mysqlrouter, after `prepare_router` in the same process."""
    return debian_root.command("mysqlrouter", "-c", str(_inside(_router(number), "router.conf")))


def prepare_router(cluster: Cluster, number: int) -> None:
    """Write its settings, and a keyring with its password. Raises SetupError."""
    debian_root.enter(cluster.mysql)
    home = cluster.mysql / _router(number)
    shutil.rmtree(home, ignore_errors=True)
    places.private_folder(home)
    templates.write(
        home / "router.conf", "router.conf", cluster, number=number, port=cluster.port("router", number)
    )
    places.write_whole(home / "state.json", json.dumps(_known_members(cluster)))
    key, keyring = (str(_inside(_router(number), name)) for name in ("key", "keyring"))
    keyring_program = ("mysqlrouter_keyring", f"--master-key-file={key}")
    debian_root.run([keyring_program[0], "init", keyring_program[1], keyring])
    password = credentials.read(cluster)["mysql-router"]
    set_password = [keyring_program[0], "set", keyring_program[1], keyring, "router", "password"]
    debian_root.run(set_password, given=f"{password}\n")


def _known_members(cluster: Cluster) -> dict[str, object]:
    members = [f"mysql://{ports.HOST}:{cluster.port('mysql', number)}" for number in layout.numbers("mysql")]
    known = {"group-replication-id": str(templates.GROUP), "cluster-metadata-servers": members}
    return {"metadata-cache": known, "version": "1.0.0"}


def _member(number: int) -> str:
    return f"member-{number}"


def _router(number: int) -> str:
    return f"router-{number}"


def _inside(folder: str, name: str) -> Path:
    return Path(debian_root.INSIDE, folder, name)
