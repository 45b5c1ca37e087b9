"""The Debian packages that commands need: installed by root, named to other users."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.stack import SetupError

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Debian keeps servers in sbin, which an ordinary user's PATH leaves out."""
PACKAGES: Mapping[str, Mapping[str, str]] = {
    "mariadb": {"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"},
    "redis": {"redis-server": "redis-server"},
    "rabbitmq": {"rabbitmq-server": "rabbitmq-server", "epmd": "rabbitmq-server"},
    # A driver that is built already needs none.
    "compiler": {"mariadb_config": "default-libmysqlclient-dev", "gcc": "gcc", "pkg-config": "pkg-config"},
    "prometheus": {
        "prometheus": "prometheus",
        "promtool": "prometheus",
        "prometheus-alertmanager": "prometheus-alertmanager",
        "amtool": "prometheus-alertmanager",
        "prometheus-redis-exporter": "prometheus-redis-exporter",
        "prometheus-mysqld-exporter": "prometheus-mysqld-exporter",
    },
    "npm": {"node": "nodejs", "npm": "npm"},
    "chromium": {"chromium": "chromium"},
    "debootstrap": {"debootstrap": "debootstrap"},
    "haproxy": {"haproxy": "haproxy"},
    "nftables": {"nft": "nftables", "ip": "iproute2"},
    # Of the campaigns that lose a database.
    "client": {"mariadb-binlog": "mariadb-client"},
    "libfaketime": {},
}
"""The package of each program, by what needs it."""
_INSTALL = ("install", "-y", "--no-install-recommends")
FAKETIME = Path("/usr/lib", f"{platform.machine()}-linux-gnu", "faketime", "libfaketimeMT.so.1")
"""Of the package libfaketime."""
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# Firstcome installs packages without starting their services.\nexit 101\n"


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
        _POLICY.write_text(_POLICY_TEXT)
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


def missing(*needs: str) -> list[str]:
    """The packages that bring what can't be found."""
    programs = {name: package for need in needs for name, package in PACKAGES[need].items()}
    absent = [package for name, package in programs.items() if shutil.which(name, path=SEARCH_PATH) is None]
    absent += ["libc6-dev"] * ("gcc" in absent)
    if "compiler" in needs and not Path(sysconfig.get_path("include"), "Python.h").exists():
        absent.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if "libfaketime" in needs and not FAKETIME.exists():
        absent.append("libfaketime")
    return [*dict.fromkeys(absent)]


def program(name: str) -> str:
    """The path of a program of `PACKAGES`. Raises SetupError with the line that installs it."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        package = next(packages[name] for packages in PACKAGES.values() if name in packages)
        raise SetupError(f"{name} is missing; run this first: {line_to_install([package])}")
    return found
