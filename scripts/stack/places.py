"""Where things lie: the project, its state under `var/`, and sockets, whose paths may not be long."""

import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from scripts.stack import SetupError

PROJECT = Path(__file__).resolve().parent.parent.parent
# Of the apps that have tables; `shop` is the label of `foundation`.
LABELS = ("shop", "accounts", "events", "coupons", "inventory", "payments", "sales", "orders")
APPS = ("shop", "foundation", *LABELS[1:], "backoffice", "demo")
# `sun_path` of Linux holds 108 bytes, and supervisor appends its process id while it makes its socket.
LONGEST_SOCKET_PATH = 95


def state() -> Path:
    """The folder of everything a run writes: `var/`, or what `FIRSTCOME_VAR` (`make run VAR=…`) says."""
    return (PROJECT / os.environ.get("FIRSTCOME_VAR", "var")).resolve()


def private_folder(path: Path) -> Path:
    """Make the folder, and keep every other user of the machine out of it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def secret(home: Path, name: str) -> str:
    """The secret of that name, made at the first call and readable by this user alone."""
    path = private_folder(home / "secrets") / name
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(48), mode=0o600)
    return path.read_text()


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write the file so that a reader, or a crash, finds the old or the new text and never half of it."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.touch(mode=mode)
    unfinished.write_text(text)
    unfinished.rename(path)


def socket_path(folder: Path, name: str) -> Path:
    """A path for a unix socket: in the folder, or in a short temporary one if that is too long."""
    if len(os.fsencode(folder / name)) <= LONGEST_SOCKET_PATH:
        return folder / name
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"firstcome-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    # Every user may write into the temporary folder, so another may have made this one first.
    found = short.lstat()
    if (stat.S_IFMT(found.st_mode), found.st_mode & 0o077, found.st_uid) != (stat.S_IFDIR, 0, os.getuid()):
        raise SetupError(f"{short} is not a private folder of this user: remove it, or set a shorter VAR")
    return short / name
