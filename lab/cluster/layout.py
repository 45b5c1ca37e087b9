"""What the cluster consists of: its processes by name, their ports, and where their state lies.

All ports lie below 32768, where Linux begins to give ports to outgoing connections: such a connection could
have a server's port when the server comes back.
"""

import tomllib
from itertools import accumulate
from pathlib import Path

from scripts.stack import SetupError, instance as instances, places, ports
from scripts.stack.instance import Instance

DEFAULT_PORT, PORTS = 21000, 64
KINDS = (
    # Of these one each: the shop's address, then its simulators as in `Instance`.
    "front gateway sink partner database front-statistics database-statistics prometheus epmd redis-exporter",
    "worker issuer beat router",
    # What has a server's name is a further port of it.
    "web mysql mysql-group mysql-exporter redis sentinel rabbitmq rabbitmq-peers rabbitmq-management "
    "rabbitmq-metrics",
)
SIZES = {kind: size for size, kinds in enumerate(KINDS, 1) for kind in kinds.split()}
"""How many there are of each kind with a port. A majority of three outlives one; of two beats one acts."""
OFFSETS = dict(zip(SIZES, accumulate(SIZES.values(), initial=0), strict=False))
"""The port of each kind's number 1 after the cluster's first one; the others follow."""


class Cluster(Instance):
    """The shop on a cluster on this machine, `make cluster PORT=… VAR=…`. Its `port` is the first of all."""

    def __init__(self, *, home: Path, port: int) -> None:
        super().__init__(home=home, port=port, database="cluster")

    @property
    def settings(self) -> Path:
        """What the templates of servers became that have no folder of their own."""
        return self.home / "settings"

    def port_of(self, name: str) -> int:
        """The port of a process, or one of its further ports: `mysql-group-2`."""
        kind, number = split(name)
        return self.port + OFFSETS[kind] + number - 1

    def address(self, name: str) -> str:
        return f"{ports.HOST}:{self.port_of(name)}"

    def addresses(self, kind: str) -> list[str]:
        return [self.address(name) for name in names(kind)]

    def folder(self, name: str) -> Path:
        """The data of one process, which outlasts its runs."""
        return self.home / "data" / name

    def password(self, name: str) -> str:
        """Made at the first start. MySQL takes no more than 32 characters for replication."""
        return places.secret(self.home, name)[:32]


def names(*kinds: str) -> list[str]:
    """The names of the processes of these kinds: `mysql-1`, …; a kind of one process is its own name."""
    sizes = {kind: SIZES.get(kind, 1) for kind in kinds}
    return [f"{kind}-{one + 1}" if size > 1 else kind for kind, size in sizes.items() for one in range(size)]


def split(name: str) -> tuple[str, int]:
    """The kind and number of a process."""
    kind, _, number = name.rpartition("-")
    return (kind, int(number)) if number.isdigit() else (name, 1)


def remembered() -> Cluster:
    """The cluster that was started last in this state folder. Raises SetupError where there was none."""
    home = places.state() / "cluster"
    if (last := instances.remembered(home)) is None:
        raise SetupError(f"no cluster was started in {home}: use `make cluster`")
    return Cluster(home=home, port=last.port)


_GROUPS = tomllib.loads((places.PROJECT / "ops" / "cluster" / "programs.toml").read_text())
PROGRAMS = {
    name: (group, spec)
    for group, kinds in _GROUPS.items()
    for kind, spec in kinds.items()
    for name in names(kind)
}
"""The group of each process, and what ops/cluster/programs.toml says about it."""
