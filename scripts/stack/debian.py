"""Programs that this machine's Debian doesn't have: each in a Debian root, made once by debootstrap.

`Root.command` runs a program of the root with the machine's other folders: only /usr is the root's, in a
mount namespace of that process. So paths are the same inside and outside, and nothing stays mounted.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import SetupError, children, places, system_packages

DEFAULT_MIRROR = "http://deb.debian.org/debian"
MEGABYTES_NEEDED = 1500
UNLIMITED_SECONDS = 86_400
_WITH_ITS_USR = 'mount --bind "$0" /usr && exec "$@"'


@dataclass(frozen=True, kw_only=True)
class Root:
    """A minimal Debian of another release with these packages."""

    name: str
    release: str
    packages: Sequence[str]
    program: str
    """One below /usr that is there once the root is whole."""
    finish: Callable[[Path], None] = lambda folder: None
    """Done to the new root before it is at its place. Raises SetupError."""

    @property
    def folder(self) -> Path:
        """In the project, whatever the state folder is."""
        return places.PROJECT / "var" / "debian" / self.name

    def command(self, *words: str) -> list[str]:
        """A command line that runs with /usr of this root."""
        return ["unshare", "--mount", "sh", "-c", _WITH_ITS_USR, str(self.folder / "usr"), *words]

    def require(self, *, within_seconds: int = UNLIMITED_SECONDS) -> None:
        """Make it unless it is made, beside its place: a kill leaves nothing half made. Raises SetupError."""
        if os.getuid() != 0:
            raise SetupError(f"the Debian root of {self.name} needs root, and the right to mount: use sudo")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (self.folder / "usr" / self.program).exists():
                return
            print(f"Making a Debian root for {self.name}; this takes a minute, once …", flush=True)
            places.require_space(self.folder.parent, megabytes=MEGABYTES_NEEDED)
            unfinished = self.folder.with_name(f"{self.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            # debootstrap checks signatures and not their date, unlike `apt-get update`: a mirror may stand
            # still for weeks.
            command = [system_packages.program("debootstrap"), "--variant=minbase"]
            command += [f"--include={','.join(self.packages)}", self.release, str(unfinished), mirror()]
            children.printed(children.run(command, within_seconds=within_seconds))
            self.finish(unfinished)
            shutil.rmtree(unfinished / "var" / "cache" / "apt", ignore_errors=True)
            unfinished.rename(self.folder)


# A cluster's members and Routers share MySQL's with the tests' server.
MYSQL = Root(
    name="mysql",
    release="sid",
    packages=("mysql-server-core", "mysql-client-core", "mysql-router"),
    program="sbin/mysqld",
)
MARIADB_NEXT = Root(
    name="mariadb-next",
    release="trixie",
    packages=("mariadb-server-core", "mariadb-client-core"),
    program="sbin/mariadbd",
)


def mirror() -> str:
    """The mirror of Debian that apt uses here."""
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        text = path.read_text(errors="replace") if path.is_file() else ""
        if found := re.search(r"^[^#\n]*?(https?://\S+/debian)/?(?=\s|$)", text, re.MULTILINE):
            return found[1]
    return DEFAULT_MIRROR
