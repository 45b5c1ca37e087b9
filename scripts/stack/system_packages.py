"""The Debian packages of MariaDB, its Python driver and the soak: installed by root, named to others."""

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
_POLICY_TEXT = (
    "#!/bin/sh\n# Firstcome installs packages and wants none of their services started.\nexit 101\n"
)


def require(*, redis: bool, compiler: bool, libfaketime: bool = False) -> None:
    """Return when everything is there. Root gets it installed; for others it ends here, with what to do."""
    packages = list(missing(redis=redis, compiler=compiler, libfaketime=libfaketime))
    if not packages:
        return
    line = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"firstcome: system packages are missing; run this first: sudo {line}")
    print(f"Installing system packages: {' '.join(packages)} …", file=sys.stderr, flush=True)
    _install(line.split())


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


def _install(command: list[str]) -> None:
    """Install without a question, and without starting the services that the packages bring."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    patience = ["-q", "-o", "DPkg::Lock::Timeout=300"]
    services_may_start = _POLICY.exists()
    if not services_may_start:
        _POLICY.write_text(_POLICY_TEXT)
        _POLICY.chmod(0o755)
    try:
        _run(["apt-get", *patience, "update"], environment)
        _run([command[0], *patience, *command[1:]], environment)
    finally:
        if not services_may_start:
            _POLICY.unlink()


def _run(command: list[str], environment: dict[str, str]) -> None:
    ran = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        last = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-10:])
        sys.exit(f"firstcome: `{' '.join(command)}` failed:\n{last}")
