"""The Debian packages of MariaDB, its Python driver and the soak: installed by root, named to other users."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from scripts.stack import faketime
from scripts.stack.mariadb import SEARCH_PATH

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# Firstcome installs packages without starting their services.\nexit 101\n"


def require(*, redis: bool, compiler: bool, libfaketime: bool = False) -> None:
    """Return when everything is there. For root it is installed; others get the line that installs it."""
    packages = list(missing(redis=redis, compiler=compiler, libfaketime=libfaketime))
    if not packages:
        return
    words = ["install", "-y", "--no-install-recommends", *packages]
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        line = f"sudo apt-get {' '.join(words)}"
        sys.exit(f"firstcome: system packages are missing; run this first: {line}")
    print(f"Installing system packages: {' '.join(packages)} …", file=sys.stderr, flush=True)
    _install(words)


def missing(*, redis: bool, compiler: bool, libfaketime: bool = False) -> Iterator[str]:
    """The packages that bring what can't be found. A driver that is built already needs no compiler."""
    programs = {"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}
    if redis:
        programs["redis-server"] = "redis-server"
    if compiler:
        programs |= {"mariadb_config": "default-libmysqlclient-dev", "gcc": "gcc", "pkg-config": "pkg-config"}
    absent = [package for program, package in programs.items() if _is_absent(program)]
    if compiler and not Path(sysconfig.get_path("include"), "Python.h").exists():
        absent.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if "gcc" in absent:
        absent.append("libc6-dev")
    if libfaketime and not faketime.LIBRARY.exists():
        absent.append(faketime.PACKAGE)
    yield from dict.fromkeys(absent)


def _is_absent(program: str) -> bool:
    return shutil.which(program, path=SEARCH_PATH) is None


def _install(words: list[str]) -> None:
    """Install without a question, and without starting the services that the packages bring."""
    services_may_start = _POLICY.exists()
    if not services_may_start:
        _POLICY.write_text(_POLICY_TEXT)
        _POLICY.chmod(0o755)
    try:
        _apt_get("update")
        _apt_get(*words)
    finally:
        if not services_may_start:
            _POLICY.unlink()


def _apt_get(*words: str) -> None:
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *words]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode != 0:
        last = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-10:])
        sys.exit(f"firstcome: `{' '.join(command)}` failed:\n{last}")
