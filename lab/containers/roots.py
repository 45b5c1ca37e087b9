"""The Debian roots of `make test-containers`: the engine's, and those that its base images are made of."""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.stack import SetupError, children
from scripts.stack.debian import Root

ENGINE_PACKAGES = (
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    # The engine's name server redirects to itself by it, inside each container's own network.
    "iptables",
    "systemd-standalone-sysusers",
)
CERTIFICATES = Path("/usr/local/share/ca-certificates")
APT_SETTINGS = Path("/etc/apt/apt.conf.d")
INSTALL_SECONDS = 900


def configure(root: Path, packages: Sequence[str] = ()) -> None:
    """Give a new root this machine's certificates and settings, and install packages. Raises SetupError."""
    (root / CERTIFICATES.relative_to("/")).mkdir(parents=True, exist_ok=True)
    for certificate in CERTIFICATES.glob("*.crt"):
        shutil.copy(certificate, root / certificate.relative_to("/"))
    for settings in APT_SETTINGS.iterdir():
        # Those named after docker are of this machine's own image.
        if not settings.name.startswith("docker-") and "Acquire::" in settings.read_text(errors="replace"):
            shutil.copy(settings, root / settings.relative_to("/"))
    (root / "etc" / "pip.conf").write_text(_pip_settings())
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    _run_in(root, "update-ca-certificates")
    if packages:
        _run_in(root, "apt-get", "update", "-q")
        _run_in(root, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)
    shutil.rmtree(root / "var" / "lib" / "apt" / "lists", ignore_errors=True)


def _configure_python(root: Path) -> None:
    configure(root)
    (root / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")


def _pip_settings() -> str:
    index = os.environ.get("PIP_INDEX_URL", "") or _configured_index()
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt", "timeout = 180"]
    return "\n".join([*lines, *([f"index-url = {index}"] if index else []), ""])


def _configured_index() -> str:
    command = ["python3", "-m", "pip", "config", "get", "global.index-url"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _run_in(root: Path, *words: str) -> None:
    log = root.parent / f"{root.stem}.log"
    own = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    child = children.start(["chroot", str(root), *words], log=log, environment=own)
    if child.wait(timeout=INSTALL_SECONDS) != 0:
        raise SetupError(f"`{' '.join(words)}` failed in {root}; the end of {log}:\n{children.tail(log, 3)}")


UNSTABLE = Root(
    name="containers-unstable",
    release="sid",
    packages=("ca-certificates",),
    program="bin/apt-get",
    finish=configure,
)
PYTHON = Root(
    name="containers-python",
    release="bookworm",
    packages=("ca-certificates", "python3", "python3-dev", "python3-pip", "python3-venv"),
    program="bin/python3",
    finish=_configure_python,
)
ENGINE = Root(
    name="containers-engine",
    release="sid",
    packages=("ca-certificates",),
    program="sbin/dockerd",
    finish=functools.partial(configure, packages=ENGINE_PACKAGES),
)
ALL = (UNSTABLE, PYTHON, ENGINE)


def require_all() -> None:
    """Make those that are missing, beside each other. Raises SetupError."""
    with ThreadPoolExecutor(len(ALL)) as threads:
        makings: list[Callable[[], None]] = [root.require for root in ALL]
        for made in [threads.submit(making) for making in makings]:
            made.result()
