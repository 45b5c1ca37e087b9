"""A Debian of its own for MySQL, which is in unstable only: made once by debootstrap, used by chroot.

Each process that runs in it sees the cluster's folder `mysql` as `/cluster`, in a mount namespace of its own:
nothing stays mounted when it ends, and clusters of several state folders share the Debian.
"""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.stack import SetupError, places

PACKAGES = ("mysql-server-core", "mysql-client-core", "mysql-router")
RELEASE = "sid"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
INSIDE = "/cluster"
MEGABYTES_NEEDED = 1500
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x00020000, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def folder() -> Path:
    """Where it lies: in the project, whatever state folder the cluster has."""
    return places.PROJECT / "var" / "cluster-debian"


def is_made() -> bool:
    return all((folder() / "usr" / program).exists() for program in ("sbin/mysqld", "bin/mysqlrouter"))


def require(logs: Path) -> None:
    """Make it where it isn't made yet. Raises SetupError."""
    if not is_made():
        print("Making a Debian for MySQL; this takes a minute, once …", flush=True)
        make(logs / "debootstrap.log")


def make(log: Path) -> None:
    """Make it beside its place and move it there: a kill leaves nothing half made. Raises SetupError."""
    if shutil.disk_usage(places.PROJECT).free >> 20 < MEGABYTES_NEEDED:
        raise SetupError(f"no space left for {folder()}: {MEGABYTES_NEEDED} MB are needed")
    unfinished = folder().with_name("cluster-debian.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(exist_ok=True)
    # debootstrap checks signatures and not their date, unlike `apt-get update`: a mirror may stand still for
    # weeks.
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        RELEASE,
        str(unfinished),
        mirror(),
    ]
    with log.open("wb") as output:
        made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if made.returncode != 0:
        raise SetupError(f"debootstrap failed; its output is in {log}")
    shutil.rmtree(unfinished / "var" / "cache" / "apt", ignore_errors=True)
    (unfinished / INSIDE.strip("/")).mkdir(exist_ok=True)
    unfinished.rename(folder())


def mirror() -> str:
    """The mirror of Debian that apt uses here."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for path in sources:
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            found = re.search(r"https?://\S+/debian/?(?=\s|$)", line)
            if found and not line.lstrip().startswith("#"):
                return found[0].rstrip("/")
    return DEFAULT_MIRROR


def enter(shown: Path) -> None:
    """Give this process a mount namespace in which the Debian has `shown` as /cluster. Raises SetupError."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    target = os.fsencode(folder()) + INSIDE.encode()
    _check(_libc.mount(os.fsencode(shown), target, None, _MS_BIND, None), f"mount {shown}")


def command(*words: str) -> list[str]:
    """A command line that runs inside; only after `enter` it finds `/cluster`."""
    return ["chroot", str(folder()), *words]


def run(words: Sequence[str], *, given: str = "") -> None:
    """Run a command inside to its end, after `enter`. Raises SetupError with the end of its output."""
    ran = subprocess.run(command(*words), input=given, capture_output=True, text=True)
    if ran.returncode != 0:
        last = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-10:])
        raise SetupError(f"{words[0]} failed:\n{last}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise SetupError(
            f"can't {what}: {os.strerror(ctypes.get_errno())}; a cluster needs root, and the right to mount"
        )
