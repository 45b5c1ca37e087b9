"""The Debian root of MySQL, which is in unstable only, used by chroot.

Each process that runs in it sees the cluster's folder `mysql` as `/cluster`, in a mount namespace of its own:
nothing stays mounted when it ends, and clusters of several state folders share the root.
"""

import ctypes
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.stack import SetupError, debian

INSIDE = "/cluster"
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x00020000, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def enter(shown: Path) -> None:
    """Give this process a mount namespace in which the root has `shown` as /cluster. Raises SetupError."""
    inside = debian.MYSQL.folder / INSIDE.strip("/")
    inside.mkdir(exist_ok=True)
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    _check(_libc.mount(os.fsencode(shown), os.fsencode(inside), None, _MS_BIND, None), f"mount {shown}")


def command(*words: str) -> list[str]:
    """A command line that runs inside; only after `enter` it finds `/cluster`."""
    return ["chroot", str(debian.MYSQL.folder), *words]


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
