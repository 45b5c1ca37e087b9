"""The Debian packages that commands need: installed by root, named to other users; programs that this
machine's Debian doesn't have, each in a Debian root of its own, made once by debootstrap; npm's packages.

`Root.command` runs a program of the root with the machine's other folders: only /usr is the root's, in a
mount namespace of that process. So paths are the same inside and outside, and nothing stays mounted.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import Lines, SetupError, children, places

# Debian keeps servers in sbin, which an ordinary user's PATH leaves out.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
# What is needed by each name that isn't a program's own.
PROGRAMS = {
    "mariadb": "mariadbd mariadb-install-db",
    "redis": "redis-server",
    "rabbitmq": "rabbitmq-server epmd",
    # A driver that is built already needs none.
    "compiler": "mariadb_config gcc pkg-config",
    "prometheus": "prometheus promtool prometheus-alertmanager amtool prometheus-redis-exporter "
    "prometheus-mysqld-exporter",
    "npm": "node npm",
    "nftables": "nft ip",
    # Of the campaigns that lose a database.
    "client": "mariadb-binlog",
    "libfaketime": "",
}
# The package of each program that isn't in one of its own name.
PACKAGES = {
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "epmd": "rabbitmq-server",
    "mariadb_config": "default-libmysqlclient-dev",
    "mariadb-binlog": "mariadb-client",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "node": "nodejs",
    "nft": "nftables",
    "ip": "iproute2",
}
_INSTALL = ("install", "-y", "--no-install-recommends")
# Of the package libfaketime.
FAKETIME = Path("/usr/lib", f"{platform.machine()}-linux-gnu", "faketime", "libfaketimeMT.so.1")
_POLICY = Path("/usr/sbin/policy-rc.d")
NPM_PINS = places.PROJECT / "scripts/npm"


def require(*needs: str) -> None:
    """Return when everything is there. For root it is installed; others get the line that installs it."""
    packages = missing(*needs)
    if not packages:
        return
    if not can_install():
        sys.exit(f"firstcome: system packages are missing; run this first: {line_to_install(packages)}")
    print(f"Installing system packages: {' '.join(packages)} …", file=sys.stderr, flush=True)
    services_may_start = _POLICY.exists()
    if not services_may_start:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")  # packages start no services
        _POLICY.chmod(0o755)
    try:
        for words in (["update"], [*_INSTALL, *packages]):
            command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *words]
            own = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            if subprocess.call(command, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) != 0:
                sys.exit(f"firstcome: `{' '.join(command)}` failed, for the reason above")
    finally:
        if not services_may_start:
            _POLICY.unlink()


def can_install() -> bool:
    """Whether this user may install packages, on a system that has them."""
    return os.getuid() == 0 and shutil.which("apt-get") is not None


def line_to_install(packages: Iterable[str]) -> str:
    return f"sudo apt-get {' '.join([*_INSTALL, *packages])}"


def missing(*needs: str) -> Lines:
    """The packages that bring what can't be found."""
    absent = []
    for need in needs:
        for name in PROGRAMS.get(need, need).split():
            if shutil.which(name, path=SEARCH_PATH) is None:
                absent.append(PACKAGES.get(name, name))
    absent += ["libc6-dev"] * ("gcc" in absent)
    if "compiler" in needs and not Path(sysconfig.get_path("include"), "Python.h").exists():
        absent.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if "libfaketime" in needs and not FAKETIME.exists():
        absent.append("libfaketime")
    return [*dict.fromkeys(absent)]


def program(name: str) -> str:
    """The path of the program. Raises SetupError with the line that installs it."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        line = line_to_install([PACKAGES.get(name, name)])
        raise SetupError(f"{name} is missing; run this first: {line}")
    return found


def npm_packages(pins: Path = NPM_PINS) -> Path:
    """The folder with `node_modules` of what this one pins, filled if it is not. Raises SetupError with what
    npm says. `scripts/npm` has scripts that the shop serves, and what compiles clients."""
    digest = hashlib.sha256((pins / "package-lock.json").read_bytes()).hexdigest()
    folder = places.PROJECT / ".venv" / pins.name
    stamp = folder / "installed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return folder
        stamp.unlink(missing_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(pins / name, folder)
        command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        children.printed(children.run(command, within_seconds=300, folder=folder))
        stamp.write_text(digest)
    return folder


@dataclass(frozen=True, kw_only=True)
class Root:
    """A minimal Debian of another release with these packages."""

    name: str
    release: str
    packages: Sequence[str]
    program: str  # One below /usr that is there once the root is whole
    # Done to the new root before it is at its place. Raises SetupError.
    finish: Callable[[Path], None] = lambda folder: None

    @property
    def folder(self) -> Path:
        """In the project, whatever the state folder is."""
        return places.PROJECT / "var/debian" / self.name

    def command(self, *words: str) -> list[str]:
        """A command line that runs with /usr of this root."""
        script = 'mount --bind "$0" /usr && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, f"{self.folder}/usr", *words]

    def require(self, *, within_seconds: int = 86_400) -> None:
        """Make it unless it is made, beside its place: a kill leaves nothing half made. Raises SetupError."""
        if os.getuid() != 0:
            raise SetupError(f"the Debian root of {self.name} needs root, and the right to mount: use sudo")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (self.folder / "usr" / self.program).exists():
                return
            print(f"Making a Debian root for {self.name}; this takes a minute, once …", flush=True)
            unfinished = self.folder.with_name(f"{self.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            # debootstrap checks signatures and not their date, unlike `apt-get update`: a mirror may stand
            # still for weeks.
            # In a mount namespace of its own: what it mounts ends with it, also when it is killed.
            command = [
                "unshare",
                "--mount",
                program("debootstrap"),
                "--variant=minbase",
                f"--include={','.join(self.packages)}",
                self.release,
                str(unfinished),
                mirror(),
            ]
            children.printed(children.run(command, within_seconds=within_seconds))
            self.finish(unfinished)
            shutil.rmtree(unfinished / "var/cache/apt", ignore_errors=True)
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
DEBIAN_13 = Root(
    name="debian-13",
    release="trixie",
    # What scripts/bootstrap.py asks for before the first group of tests and loads, and what these start.
    # dbus-x11 for chromium, because debootstrap can't choose among packages that provide one.
    packages=(
        "python3-venv",
        "python3-dev",
        "gcc",
        "libc6-dev",
        "pkg-config",
        "default-libmysqlclient-dev",
        "mariadb-server-core",
        "mariadb-client",
        "redis-server",
        "chromium",
        "dbus-x11",
        "curl",
        "git",
        "make",
        "prometheus",
        "prometheus-alertmanager",
        "prometheus-redis-exporter",
        "prometheus-mysqld-exporter",
    ),
    program="bin/chromium",
    # It would note what it installs among this machine's packages.
    finish=lambda folder: (folder / "usr/bin/apt-get").unlink(),
)


def mirror() -> str:
    """The mirror of Debian that apt uses here."""
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        text = ""
        if path.is_file():
            text = path.read_text(errors="replace")
        found = re.search(r"^[^#\n]*?(https?://\S+/debian)/?(?=\s|$)", text, re.MULTILINE)
        if found:
            return found[1]
    return "http://deb.debian.org/debian"
