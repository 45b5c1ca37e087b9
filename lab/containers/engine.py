"""A Docker engine of its own and the project in it: dockerd in a Debian root, with mounts and process ids of
its own, the images that the compose file names, made from Debian's packages, and `docker compose`.

Nothing is installed on this machine, no image registry is asked, and no firewall rule is made: the engine has
no bridge of its own, and forwards nothing. Its process ids end with its first process, so that no container
outlives this command, however that ends. What it keeps between runs, images and caches of builds, is in a
folder below `var/`.
"""

import functools
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import shop
from scripts.stack import SetupError, children, places, waiting
from scripts.stack.instance import Instance
from scripts.stack.system_packages import Root

SHOP = ("web", "worker", "beat", "issuer")
STORES = ("redis", "rabbitmq", "mysql")
LEFT_OUT = {
    "grafana": "its image is had from an image registry only; dashboards are held to metrics by other tests"
}
FILES = ("docker-compose.yml", "scripts/docker/simulators.yml", "lab/containers/override.yml")
"""The first two are those of docs/operations.md."""
TEXTS = [(places.PROJECT / name).read_text() for name in FILES]
HEALTHY = {*SHOP, *STORES, "proxy", "prometheus", "alertmanager", "redis_exporter", "mysql_exporter"}
KNOWN = {*HEALTHY, *LEFT_OUT, "migrate", "backup", "gateway", "data_platform"}
"""All that are checked, or left out: what ends by itself, and the simulators, need not be healthy."""
PORTS = ("WEB", "GATEWAY", "DATA_PLATFORM", "PROMETHEUS", "ALERTMANAGER")
"""In a row; the first three are those of an instance."""
SETTINGS = {
    "ALLOWED_HOSTS": "localhost",
    "PAYMENT_GATEWAY": "simulator",
    "BROKER_QUEUE_TYPE": "quorum",
    "GATEWAY_URL": "http://gateway:8001",
    "DATA_PLATFORM_URL": "http://data_platform:8002",
}
"""As docs/operations.md has them for the simulators, and a queue of the kind that a cluster has."""
STAND_INS = {
    "mysql:8.4": ("mysql", "mysql-server-core"),
    "redis:7.4-alpine": ("redis", "redis-server"),
    "rabbitmq:4.1-alpine": ("rabbitmq", "rabbitmq-server"),
    "prom/prometheus:v3.5.0": ("prometheus", "prometheus"),
    "haproxy:3.2-alpine": ("haproxy", "haproxy"),
}
"""The folder of each image that has a stand-in, by the name in docker-compose.yml, and Debian's package."""
[BASE] = re.findall(r"(?m)^ARG PYTHON=(\S+)", (places.PROJECT / "Dockerfile").read_text())
"""The image that the project's own are built from."""
START_SECONDS, STOP_SECONDS, COMMAND_SECONDS, BUILD_SECONDS, HEALTHY_SECONDS = 90, 60, 600, 1200, 240
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OWN_ROOT = """
set -eu
root=$1 kept=$2 shared=$3
mount --make-rprivate /
mount --bind "$root" "$root"
for folder in sys dev; do mount --rbind /$folder "$root/$folder"; done
mount -t proc proc "$root/proc"
for folder in run tmp; do mount -t tmpfs tmpfs "$root/$folder"; done
mkdir -p "$root/var/lib/docker" "$root$shared" "$root/oldroot"
mount --bind "$kept" "$root/var/lib/docker"
mount --bind "$shared" "$root$shared"
cd "$root"
pivot_root . oldroot
umount -l /oldroot
exec dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false
"""
"""Runs in the new namespaces, as their first process, which becomes dockerd."""


def configure(root: Path, packages: Sequence[str] = ()) -> None:
    """Give a new root this machine's certificates and settings, and install packages. Raises SetupError."""
    own = {"PATH": PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

    def run(*words: str) -> None:
        ran = ["chroot", str(root), *words]
        children.printed(children.run(ran, within_seconds=900, environment=own))

    copied = [*Path("/usr/local/share/ca-certificates").glob("*.crt"), Path("/etc/resolv.conf")]
    for path in Path("/etc/apt/apt.conf.d").iterdir():
        # Those named after docker are of this machine's own image.
        if not path.name.startswith("docker-") and "Acquire::" in path.read_text(errors="replace"):
            copied.append(path)
    for path in copied:
        (target := root / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    asked = ["python3", "-m", "pip", "config", "get", "global.index-url"]
    index = os.environ.get("PIP_INDEX_URL") or subprocess.run(asked, capture_output=True, text=True).stdout
    pip = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt", "timeout = 180"]
    pip += [f"index-url = {index.strip()}"] if index else []
    (root / "etc" / "pip.conf").write_text("\n".join([*pip, ""]))
    run("update-ca-certificates")
    if packages:
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)
    shutil.rmtree(root / "var" / "lib" / "apt" / "lists", ignore_errors=True)
    if (root / "usr" / "bin" / "python3").exists():
        (root / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")


def _root(name: str, release: str, program: str, *packages: str) -> Root:
    finish = functools.partial(configure, packages=packages)
    own = ("ca-certificates",)
    return Root(name=f"containers-{name}", release=release, packages=own, program=program, finish=finish)


UNSTABLE = _root("unstable", "sid", "bin/apt-get")
PYTHON = _root("python", "bookworm", "bin/python3", "python3", "python3-dev", "python3-pip", "python3-venv")
ENGINE = _root(
    *("engine", "sid", "sbin/dockerd", "docker.io", "docker-cli", "docker-compose", "docker-buildx"),
    # The engine's name server redirects to itself by it, inside each container's own network.
    *("iptables", "systemd-standalone-sysusers"),
)


def require_roots() -> None:
    """Make the Debian roots that are missing, beside each other. Raises SetupError."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(Root.require, (UNSTABLE, PYTHON, ENGINE)))


@dataclass(frozen=True, kw_only=True)
class Containers:
    """A copy of the project whose containers run in the engine."""

    pid: int
    """Of dockerd, by this machine's count."""
    folder: Path
    """Of the copy; engine and machine have it by the same path, and commands run there."""
    instance: Instance
    """The addresses by which clients reach it."""

    def command(self, *words: str) -> list[str]:
        """A command line that runs with the engine's files and process ids, in the project's folder."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        settings = [f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "BUILDKIT_PROGRESS=plain"]
        there = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder)]
        return [*enter, "env", "-i", *settings, *there, *words]

    def run(self, *words: str, within_seconds: float = COMMAND_SECONDS, codes: tuple[int, ...] = (0,)) -> str:
        """What the command prints. Raises SetupError unless it succeeds."""
        ran = children.run(self.command(*words), within_seconds=within_seconds)
        if ran.returncode not in codes:
            end = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-12:])
            raise SetupError(f"`{' '.join(words)}` ended with {ran.returncode}:\n{end}")
        return ran.stdout.strip()

    def compose(self, words: str, *more: str, **how: Any) -> str:
        """What `docker compose` prints of these words, and of more that may have spaces."""
        return self.run("docker", "compose", *words.split(), *more, **how)

    def knows_all(self) -> None:
        if unlike := KNOWN ^ {*self.compose("--profile * config --services").split()}:
            raise SetupError(f"no check knows these services, or the compose file lacks them: {unlike}")

    def build(self) -> None:
        self.compose("build", within_seconds=BUILD_SECONDS)

    def up(self) -> None:
        self.compose("up --detach")

    def wait_until_healthy(self) -> str:
        """Says how many are healthy. Raises SetupError with those that are not in time."""

        def missing() -> set[str]:
            shown = self.compose("ps --all --format", "{{.Service}} {{.State}} {{.Health}}")
            return {f"{service} running healthy" for service in HEALTHY} - set(shown.splitlines())

        if left := waiting.left(missing, within_seconds=HEALTHY_SECONDS, pause_seconds=1):
            raise SetupError(f"not so after {HEALTHY_SECONDS} s: {sorted(left)}")
        return f"{len(HEALTHY)} services"

    def clear(self) -> None:
        """Remove every container, network and volume: those of a run that was killed, too."""
        if containers := self.run("docker", "ps", "--all", "--quiet").split():
            self.run("docker", "rm", "--force", "--volumes", *containers)
        self.run("docker", "network", "prune", "--force")
        self.run("docker", "volume", "prune", "--all", "--force")


def copy_project(target: Path, instance: Instance) -> None:
    """Copy what git has of this checkout, as it stands in its folder, to a new folder, with an `.env` of
    secrets, addresses, and the short times of a trial. Raises SetupError."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = children.printed(children.run(listed, within_seconds=COMMAND_SECONDS)).split("\0")
    for name in filter(None, names):
        if (source := places.PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    # Without these nothing starts; those that are no secrets follow.
    chosen = {name: secrets.token_hex(32) for name in re.findall(r"\$\{(\w+):\?", "".join(TEXTS))}
    chosen |= SETTINGS | shop.SETTINGS | {"COMPOSE_FILE": ":".join(FILES)}
    chosen |= {f"{name}_PORT": str(instance.port + offset) for offset, name in enumerate(PORTS)}
    lines = [f"{name}={value}" for name, value in chosen.items()]
    places.write_whole(target / ".env", "\n".join([*lines, ""]), mode=0o600)


@contextmanager
def running(home: Path, folder: Path, instance: Instance) -> Iterator[Containers]:
    """The engine inside the block; afterwards its containers, networks, volumes and mounts are gone.

    It sees `home/shared`, where the project's folder is. Raises SetupError.
    """
    kept, log = home / "docker", home / "dockerd.log"
    kept.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", OWN_ROOT, "sh"]
    words += [str(ENGINE.folder), str(kept), str(home / "shared")]
    child = children.start(words, log=log, environment=os.environ | {"PATH": PATH})
    forked = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    try:
        late = "unshare forks no process: this needs root, and the right to mount"
        pid = int(waiting.until(lambda: forked.read_text().split(), late, within_seconds=START_SECONDS)[0])
        found = Containers(pid=pid, folder=folder, instance=instance)
        answers = lambda: children.run(found.command("docker", "ps"), within_seconds=30).returncode == 0  # noqa: E731
        children.wait_until(answers, name="dockerd", child=child, log=log, within_seconds=START_SECONDS)
        found.clear()
        try:
            yield found
        finally:
            found.clear()
            with suppress(OSError, subprocess.TimeoutExpired):
                os.kill(pid, signal.SIGTERM)
                child.wait(timeout=STOP_SECONDS)
    finally:
        # With unshare ends everything in its namespaces.
        child.kill()
        child.wait()


def make_images(containers: Containers) -> str:
    """Import and build what is missing; says which versions there are. Raises SetupError."""
    docker = functools.partial(containers.run, "docker")
    for root, name in ((UNSTABLE, "firstcome-debian-unstable"), (PYTHON, BASE)):
        if not docker("image", "ls", "--quiet", name):
            command = containers.command("docker", "import", "--change", "CMD bash", "-", name)
            with subprocess.Popen(["tar", "-C", str(root.folder), "-c", "."], stdout=subprocess.PIPE) as tar:
                subprocess.run(command, stdin=tar.stdout, timeout=BUILD_SECONDS, check=True)
            if tar.returncode != 0:
                raise SetupError(f"packing {root.folder} failed")
    for name, (folder, _) in STAND_INS.items():
        # In the project's copy, because the engine's root has no other of this machine's folders.
        words = ["build", "--quiet", "--network", "host", "--tag", name, f"lab/containers/images/{folder}"]
        docker(*words, within_seconds=BUILD_SECONDS)
    versions = [docker("version", "--format", "Docker {{.Server.Version}}"), docker("compose", "version")]
    shown = ("run", "--rm", "--network=none", "--entrypoint=dpkg-query")
    for name, (_, package) in (STAND_INS | {BASE: ("", "python3")}).items():
        versions.append(f"{name} is Debian's {docker(*shown, name, '--show', package)}")
    return "\n".join(versions)
