"""The processes of MariaDB: three members, from Debian's packages."""

import fcntl
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

from scripts.cluster import packages, templates
from scripts.cluster.galera import membership, waiting
from scripts.cluster.galera.members import GaleraMembers
from scripts.cluster.galera.membership import Position
from scripts.cluster.layout import Cluster
from scripts.stack import SetupError, mariadb, places
from scripts.stack.processes import Command
from scripts.stack.programs import system_packages

FIRST_DATA = "first-data"
"""In the cluster's folder of data: system tables, accounts, and no transaction of Galera."""
WAIT_SECONDS = 0.2
_NO_HISTORY = "00000000-0000-0000-0000-000000000000"


def require() -> None:
    """Raise SetupError with what to install."""
    for name in system_packages.GALERA_PROGRAMS:
        packages.program(name)
    if not system_packages.GALERA_LIBRARY.exists():
        line = system_packages.line_to_install([system_packages.GALERA_PACKAGE])
        raise SetupError(f"Galera is missing; run this first: {line}")


def member_command(cluster: Cluster, number: int) -> Command:
    """mariadbd of one member, after `prepare_member` in the same process."""
    chosen = _options(cluster, number)
    options = json.loads(chosen.read_text()) if chosen.exists() else []
    return [packages.program("mariadbd"), f"--defaults-file={_settings(cluster, number)}", *options]


def prepare_member(cluster: Cluster, number: int) -> None:
    """Write its settings, make its data if there are none, and wait for its turn. Raises SetupError."""
    waiting.withdraw(cluster, number)
    home = places.private_folder(cluster.folder(f"mariadb-{number}"))
    places.private_folder(home / "tmp")
    own = {
        "folder": home,
        "socket": socket(cluster, number),
        "port": cluster.port("mariadb", number),
        "group_port": cluster.port("mariadb-group", number),
        "ist_port": cluster.port("mariadb-ist", number),
        "sst_port": cluster.port("mariadb-sst", number),
        "provider": system_packages.GALERA_LIBRARY,
    }
    templates.write(_settings(cluster, number), "galera.cnf", cluster, number=number, **own)
    data = home / "data"
    if (data / "sst_in_progress").exists():
        # The process ended while it was copied: half of another member's data are worth nothing.
        shutil.rmtree(data)
    if not data.exists():
        _make_data(cluster, data)
    position = recovered_position(cluster, number)
    places.write_whole(_options(cluster, number), json.dumps(_wait_for_turn(cluster, number, position)))


def _wait_for_turn(cluster: Cluster, number: int, position: Position) -> list[str]:
    """Return with what the server is started with: alone as the first, or to join the others."""
    # Without it, a server that was killed has an unknown position, and would be copied as a whole.
    history = position.history or _NO_HISTORY
    options = [f"--wsrep-start-position={history}:{position.number}"]
    members = GaleraMembers.of(cluster)
    waiting.announce(cluster, number, position)
    try:
        while not membership.component(members.views()):
            if waiting.is_to_found(cluster, number):
                _allow_to_found(cluster, number)
                return [*options, "--wsrep-new-cluster"]
            time.sleep(WAIT_SECONDS)
        return options
    finally:
        waiting.withdraw(cluster, number)


def _allow_to_found(cluster: Cluster, number: int) -> None:
    """Galera refuses a member that did not stop last. That it has everything, the keeper has made sure of."""
    state = cluster.folder(f"mariadb-{number}") / "data" / "grastate.dat"
    if state.exists():
        places.write_whole(state, re.sub(r"safe_to_bootstrap: *0", "safe_to_bootstrap: 1", state.read_text()))


def recovered_position(cluster: Cluster, number: int) -> Position:
    """The last transaction that this member has on its disk. Raises SetupError when that can't be read."""
    state = cluster.folder(f"mariadb-{number}") / "data" / "grastate.dat"
    if not state.exists():
        return Position()
    found = _position(state.read_text(), r"uuid:\s*(\S+)\s+seqno:\s*(-?\d+)")
    if found and found.number >= 0:
        return found
    # It was killed: only the storage engine knows.
    command = [packages.program("mariadbd"), f"--defaults-file={_settings(cluster, number)}"]
    ran = subprocess.run(
        [*command, "--wsrep-recover"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    found = _position(ran.stderr + ran.stdout, r"Recovered position:\s*([0-9a-f-]{36}):(-?\d+)")
    if ran.returncode != 0 or found is None:
        last = "\n".join((ran.stderr + ran.stdout).strip().splitlines()[-10:])
        raise SetupError(f"the position of mariadb-{number} can't be recovered:\n{last}")
    return found


def _position(text: str, pattern: str) -> Position | None:
    found = re.search(pattern, text)
    if found is None:
        return None
    return Position() if found[1] == _NO_HISTORY else Position(found[1], int(found[2]))


def socket(cluster: Cluster, number: int) -> Path:
    """By which a member's own backup, which copies it to another, signs in."""
    return places.socket_path(cluster.instance.run, f"mariadb-{number}.sock")


def _make_data(cluster: Cluster, data: Path) -> None:
    """Copy the data that all members begin with. They are moved to their place: a kill leaves no half."""
    folder = places.private_folder(cluster.home / "data")
    with (folder / "lock").open("w") as lock:
        # The member that comes first makes it, and the others wait: to make it takes longer than to copy it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = folder / FIRST_DATA
        if not first.exists():
            _make_first_data(cluster, first)
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(first, unfinished)
    unfinished.rename(data)


def _make_first_data(cluster: Cluster, first: Path) -> None:
    unfinished = first.with_name(f"{FIRST_DATA}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    mariadb.install(unfinished, temporary=places.private_folder(first.with_name("tmp")))
    made = [
        packages.program("mariadbd"),
        "--no-defaults",
        "--bootstrap",
        "--user=root",
        f"--datadir={unfinished}",
    ]
    statements = templates.render("galera.sql", cluster)
    ran = subprocess.run(made, input=statements, capture_output=True, text=True)
    if ran.returncode != 0 or "ERROR" in ran.stderr:
        last = "\n".join(ran.stderr.strip().splitlines()[-10:])
        raise SetupError(f"the accounts of MariaDB can't be made:\n{last}")
    unfinished.rename(first)


def _settings(cluster: Cluster, number: int) -> Path:
    return cluster.folder(f"mariadb-{number}") / "my.cnf"


def _options(cluster: Cluster, number: int) -> Path:
    return cluster.folder(f"mariadb-{number}") / "options.json"
