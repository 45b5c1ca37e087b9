"""What the cluster consists of: its processes by name, their ports, and where their state lies.

Every port follows from the first one. All lie below 32768, where Linux begins to give ports to outgoing
connections: such a connection could have a server's port when the server comes back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import SetupError, instance as instances, places, ports
from scripts.stack.instance import Instance

DEFAULT_PORT = 21000
FIRST_PORT_OF_CONNECTIONS = ports.FOR_SERVERS.stop
"""The first of `net.ipv4.ip_local_port_range`."""
SIZES = {
    "mysql": 3,
    "router": 2,
    "redis": 3,
    "sentinel": 3,
    "rabbitmq": 3,
    "mysql-exporter": 3,
    "web": 3,
    "worker": 2,
    "issuer": 2,
    "beat": 2,
}
"""How many there are of each. A majority of three outlives one; of two beats one acts."""
OFFSETS = {
    # The shop's address, then its simulators as in `Instance`.
    "front": 0,
    "gateway": 1,
    "sink": 2,
    "partner": 3,
    "database": 4,
    "front-statistics": 5,
    "database-statistics": 6,
    "prometheus": 7,
    "epmd": 8,
    "redis-exporter": 9,
    "web": 11,
    "worker": 15,
    "issuer": 18,
    "beat": 21,
    "mysql": 31,
    "mysql-group": 34,
    "mysql-exporter": 37,
    "router": 41,
    "redis": 44,
    "sentinel": 47,
    "rabbitmq": 51,
    "rabbitmq-peers": 54,
    "rabbitmq-management": 57,
    "rabbitmq-metrics": 60,
}
"""The port after the first one, of the only process of a kind or of its number 1; the others follow."""
PORTS = 64


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster on this machine: `make cluster PORT=… VAR=…`."""

    home: Path
    first_port: int

    @property
    def instance(self) -> Instance:
        """The shop in it, as far as it is like that of `make run`: logs, the address, and the simulators."""
        return Instance(home=self.home, port=self.first_port, database="cluster")

    @property
    def settings(self) -> Path:
        """What the templates of ops/cluster became."""
        return self.home / "settings"

    @property
    def environment_file(self) -> Path:
        """The environment of the shop's processes, for a shell."""
        return self.home / "env"

    def port(self, kind: str, number: int = 1) -> int:
        """The port of that process, or of one of its kinds of ports."""
        return self.first_port + OFFSETS[kind] + number - 1

    def address(self, kind: str, number: int = 1) -> str:
        return f"{ports.HOST}:{self.port(kind, number)}"

    def addresses(self, kind: str, *, like: str | None = None) -> list[str]:
        """The addresses of all of a kind; `like` names the kind that has as many."""
        return [self.address(kind, number) for number in numbers(like or kind)]

    def folder(self, name: str) -> Path:
        """The data of one process, which outlasts its runs."""
        return self.home / "data" / name

    @property
    def mysql(self) -> Path:
        """The data of MySQL's members and Routers, which they see as `/cluster`."""
        return self.home / "mysql"


def numbers(kind: str) -> range:
    """The numbers of the processes of a kind, from 1."""
    return range(1, SIZES[kind] + 1)


def names(*kinds: str) -> list[str]:
    """The names of the processes of these kinds: `mysql-1`, …; a kind of one process is its own name."""
    return [name for kind in kinds for name in _names(kind)]


def _names(kind: str) -> Iterator[str]:
    if kind in SIZES:
        yield from (f"{kind}-{number}" for number in numbers(kind))
    else:
        yield kind


def split(name: str) -> tuple[str, int]:
    """The kind and number of a process."""
    kind, _, number = name.rpartition("-")
    return (kind, int(number)) if number.isdigit() else (name, 1)


def remembered() -> Cluster:
    """The cluster that was started last in this state folder. Raises SetupError where there was none."""
    instance = instances.remembered(home())
    if instance is None:
        raise SetupError(f"no cluster was started in {home()}: use `make cluster`")
    return Cluster(home=instance.home, first_port=instance.port)


def choose(port: str = "") -> Cluster:
    """The cluster of this state folder, by default with the ports of its last start. Raises SetupError."""
    last = instances.remembered(home())
    default = last.port if last else DEFAULT_PORT
    first = ports.parse(port or str(default), following=PORTS - 1)
    if first + PORTS > FIRST_PORT_OF_CONNECTIONS:
        most = FIRST_PORT_OF_CONNECTIONS - PORTS
        raise SetupError(
            f"PORT={first} is too high for a cluster: its {PORTS} ports must lie below "
            f"{FIRST_PORT_OF_CONNECTIONS}, where outgoing connections begin; choose at most {most}"
        )
    return Cluster(home=home(), first_port=first)


def home(state: Path | None = None) -> Path:
    """The folder of the cluster in this state folder."""
    return (state or places.state()) / "cluster"
