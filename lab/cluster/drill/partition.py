"""One process cut off from all others: nftables drops each packet that it sends or would receive.

All processes share the loopback, so an address names none of them. Their control groups do: every process
starts in one of its own. The drill runs in a network namespace of its own, with loopback alone, so the rules
are the namespace's and end with it.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.stack import SetupError, children, system_packages

ROOT = Path("/sys/fs/cgroup")
"""nft names control groups from here, wherever below it the hierarchy of version 2 is mounted."""
TABLE = "inet firstcome_drill"
NFT_SECONDS = 30
LEVEL = 2
"""How deep below the hierarchy's root a process' group lies."""
_CLONE_NEWNET, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x40000000, 0x8913, 0x8914, 0x1
_libc = ctypes.CDLL(None, use_errno=True)


def enter_namespace() -> None:
    """Give this process, and all that it starts, a network of its own. Raises SetupError."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SetupError(f"can't make a network namespace: {reason}; a drill needs root, and this right")
    with socket.socket() as some:
        asked = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(some, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


@contextmanager
def control_groups() -> Iterator[Path]:
    """A folder with a control group for each process, which is removed in the end. Raises SetupError."""
    made = mount() / f"firstcome-{os.getpid()}"
    try:
        made.mkdir()
        yield made
    except OSError as error:
        raise SetupError(f"can't make control groups, which a partition needs: {error}") from error
    finally:
        for group in [*made.glob("*/"), made]:
            if group.is_dir():
                _remove(group)


def mount(mounts: str | None = None) -> Path:
    """Where version 2 of control groups is mounted. Raises SetupError where it isn't."""
    for line in (mounts or Path("/proc/mounts").read_text()).splitlines():
        _, where, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(where)
    raise SetupError("no control groups of version 2 are mounted here, by which a partition names a process")


@contextmanager
def cut_off(groups: Path, names: list[str]) -> Iterator[None]:
    """These processes exchange no packet with any other inside the block."""
    _nft(rules(groups, names))
    try:
        yield
    finally:
        _nft(f"delete table {TABLE}")


def rules(groups: Path, names: list[str]) -> str:
    """nft's commands. A packet on loopback leaves by one socket and enters by another: both are looked at."""
    groups_named = [str((groups / name).relative_to(ROOT)) for name in names]
    drops = "".join(f'socket cgroupv2 level {LEVEL} "{group}" drop; ' for group in groups_named)
    chains = [
        f"chain {name} {{ type filter hook {hook} priority 0; {drops}}}"
        for name, hook in (("sent", "output"), ("received", "input"))
    ]
    return "\n".join([f"table {TABLE} {{", *chains, "}"])


def require() -> None:
    """Raise SetupError with what to install."""
    system_packages.program("nft")
    mount()


def _nft(commands: str) -> None:
    command = [system_packages.program("nft"), "-f", "-"]
    children.printed(children.run(command, within_seconds=NFT_SECONDS, text=commands))


def _remove(group: Path) -> None:
    try:
        group.rmdir()
    except OSError as error:
        print(f"the control group {group} is left behind: {error}", flush=True)
