"""A Docker engine of its own and the project in it: dockerd in a Debian root, with mounts and process ids of
its own, the images that the compose file names, made from Debian's packages, and `docker compose`.

Nothing is installed on this machine, no image registry is asked, and no firewall rule is made: the engine has
no bridge of its own, and forwards nothing. Its process ids end with its first process, so that no container
outlives this command, however that ends. What it keeps between runs, images and caches of builds, is in a
folder below `var/`.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import shop
from scripts.stack import SetupError, Words, children, places, waiting
from scripts.stack.instance import Instance
from scripts.stack.system_packages import Root

HERE = Path(__file__).parent
# Services that are not started.
LEFT_OUT = {
    "grafana": "its image is had from an image registry only; dashboards are held to metrics by other tests"
}
# Debian's package of each image that stands in for one of docker-compose.yml, in the folder of its name.
STAND_INS = {
    "mysql:stand-in": "mysql-server-core",
    "redis:stand-in": "redis-server",
    "rabbitmq:stand-in": "rabbitmq-server",
    "prometheus:stand-in": "prometheus",
    "haproxy:stand-in": "haproxy",
}
SHOP = ("web", "worker", "beat", "issuer")
STORES = ("redis", "rabbitmq", "mysql")
# The first two are those of docs/operations.md.
FILES = ("docker-compose.yml", "scripts/docker/simulators.yml", "lab/containers/override.yml")
HEALTHY = {*SHOP, *STORES, "proxy", "prometheus", "alertmanager", "redis_exporter", "mysql_exporter"}
# All that are checked, or left out: what ends by itself, and the simulators, need not be healthy.
KNOWN = {*HEALTHY, *LEFT_OUT, "migrate", "gateway", "data_platform"}
# In a row; the first three are those of an instance.
PORTS = ("WEB", "GATEWAY", "DATA_PLATFORM", "PROMETHEUS", "ALERTMANAGER")
SETTINGS = {
    "COMPOSE_FILE": ":".join(FILES),
    # As docs/operations.md has them for the simulators.
    "ALLOWED_HOSTS": "localhost",
    "PAYMENT_GATEWAY": "simulator",
    "GATEWAY_URL": "http://gateway:8001",
    "DATA_PLATFORM_URL": "http://data_platform:8002",
    # A queue of the kind that a cluster has.
    "BROKER_QUEUE_TYPE": "quorum",
    **shop.SETTINGS,
}
# The image that the project's own are built from.
[BASE] = re.findall(r"(?m)^ARG PYTHON=(\S+)", (places.PROJECT / "Dockerfile").read_text())
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 90
STOP_SECONDS = 60
COMMAND_SECONDS = 1200
HEALTHY_SECONDS = 240
CERTIFICATES = ("ca-certificates",)  # What each root begins with
# The engine's name server redirects to itself by iptables, inside each container's own network.
OF_ENGINE = (
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    "iptables",
    "systemd-standalone-sysusers",
)


def configure(packages: Words, root: Path) -> None:
    """Give a new root this machine's certificates and settings, and install packages. Raises SetupError."""
    copied = [*Path("/usr/local/share/ca-certificates").glob("*.crt"), Path("/etc/resolv.conf")]
    for path in Path("/etc/apt/apt.conf.d").iterdir():
        # Those named after docker are of this machine's own image.
        if not path.name.startswith("docker-") and "Acquire::" in path.read_text(errors="replace"):
            copied.append(path)
    for path in copied:
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    asked = ["python3", "-m", "pip", "config", "get", "global.index-url"]
    index = os.environ.get("PIP_INDEX_URL") or subprocess.run(asked, capture_output=True, text=True).stdout
    pip = "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ntimeout = 180\n"
    (root / "etc/pip.conf").write_text(pip + (f"index-url = {index.strip()}\n" if index else ""))
    installing = children.run(
        ["chroot", root, "sh", "-c", (HERE / "install.sh").read_text(), "sh", *packages],
        within_seconds=COMMAND_SECONDS,
        environment={"PATH": PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    )
    children.printed(installing)


ROOTS = {
    "unstable": Root(
        name="containers-unstable",
        release="sid",
        packages=CERTIFICATES,
        program="bin/apt-get",
        finish=partial(configure, ()),
    ),
    "trixie": Root(
        name="containers-trixie",
        release="trixie",
        packages=CERTIFICATES,
        program="bin/python3",
        finish=partial(configure, ("python3", "python3-dev", "python3-pip", "python3-venv")),
    ),
    "engine": Root(
        name="containers-engine",
        release="sid",
        packages=CERTIFICATES,
        program="sbin/dockerd",
        finish=partial(configure, OF_ENGINE),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """A pattern that has to be found within a minute in what `docker` prints of these words."""

    words: str
    pattern: str


CHECKS = {
    "migrate completed": Check(
        words="inspect --format '{{.State.Status}} {{.State.ExitCode}}' firstcome-migrate-1",
        pattern="^exited 0$",
    ),
    # Warnings are ignored.
    "doctor": Check(
        words="compose exec -T web python manage.py doctor", pattern=r"(?ms)\A(?!.*^danger).*ok {7}"
    ),
    "the worker ran a task, by a message": Check(
        words="compose logs worker", pattern=r"Task [a-z.]+\[.*succeeded"
    ),
    "the queue is durable and consumed": Check(
        words="compose exec -T rabbitmq rabbitmqctl -q list_queues name type durable consumers",
        pattern=r"(?m)^celery\tquorum\ttrue\t[1-9]",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Containers:
    """A copy of the project whose containers run in the engine."""

    pid: int  # Of dockerd, by this machine's count
    folder: Path  # Of the copy; engine and machine have it by the same path, and commands run there
    instance: Instance  # The addresses by which clients reach it

    def command(self, *words: str) -> Words:
        """A command line that runs with the engine's files and process ids, in the project's folder."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        settings = [f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "BUILDKIT_PROGRESS=plain"]
        there = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder)]
        return [*enter, "env", "-i", *settings, *there, *words]

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """What the command prints. Raises SetupError unless it ends with one of these codes."""
        ran = children.run(self.command(*words), within_seconds=COMMAND_SECONDS)
        if ran.returncode not in codes:
            end = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-12:])
            raise SetupError(f"`{' '.join(words)}` ended with {ran.returncode}:\n{end}")
        return ran.stdout.strip()

    def docker(self, words: str, *more: str) -> str:
        """What `docker` prints of these words, and of more that may have spaces."""
        return self.run("docker", *words.split(), *more)

    def wait_until_healthy(self) -> str:
        """Says how many are healthy. Raises SetupError with those that are not in time."""

        def missing() -> set[str]:
            shown = self.docker("compose ps --all --format", "{{.Service}} {{.State}} {{.Health}}")
            return {f"{service} running healthy" for service in HEALTHY} - set(shown.splitlines())

        left = waiting.left(missing, within_seconds=HEALTHY_SECONDS, pause_seconds=1)
        if left:
            raise SetupError(f"not so after {HEALTHY_SECONDS} s: {sorted(left)}")
        return f"{len(HEALTHY)} services"

    def clear(self) -> None:
        """Remove every container, network and volume: those of a run that was killed, too."""
        containers = self.docker("ps --all --quiet").split()
        if containers:
            self.docker("rm --force --volumes", *containers)
        self.docker("network prune --force")
        self.docker("volume prune --all --force")

    def make_images(self) -> str:
        """Import and build what is missing; says which versions there are. Raises SetupError."""
        for root, name in (("unstable", "firstcome-debian-unstable"), ("trixie", BASE)):
            if not self.docker("image ls --quiet", name):
                line = 'set -o pipefail; tar -C "$0" -c . | "$@"'
                words = self.command("docker", "import", "--change", "CMD bash", "-", name)
                subprocess.run(["bash", "-c", line, ROOTS[root].folder, *words], check=True)
        versions = [
            self.docker("version --format", "Docker {{.Server.Version}}"),
            self.docker("compose version"),
        ]
        for name, package in {**STAND_INS, BASE: "python3"}.items():
            if name in STAND_INS:
                # In the project's copy, because the engine's root has no other of this machine's folders.
                folder = name.partition(":")[0]
                self.docker(f"build --quiet --network host --tag {name} lab/containers/images/{folder}")
            shown = f"run --rm --network=none --entrypoint=dpkg-query {name} --show {package}"
            versions.append(f"{name} is Debian's {self.docker(shown)}")
        return "\n".join(versions)


def copy_project(target: Path, instance: Instance) -> None:
    """Copy what git has of this checkout, as it stands in its folder, to a new folder, with an `.env` of
    secrets, addresses, and the short times of a trial."""
    target.mkdir(parents=True)
    listed = "git ls-files --cached --others --exclude-standard -z"
    line = f'{listed} | tar --null --ignore-failed-read -T - -c | tar -C "$0" -x'
    subprocess.run(["bash", "-c", line, target], cwd=places.PROJECT, check=True)
    texts = "".join((target / name).read_text() for name in FILES)
    # Without these nothing starts; those that are no secrets follow.
    required = re.findall(r"\$\{(\w+):\?", texts)
    chosen = {name: secrets.token_hex(32) for name in required} | SETTINGS
    chosen |= {f"{name}_PORT": str(instance.port + offset) for offset, name in enumerate(PORTS)}
    lines = [f"{name}={value}\n" for name, value in chosen.items()]
    places.write_whole(target / ".env", "".join(lines), mode=0o600)


@contextmanager
def running(home: Path, folder: Path, instance: Instance) -> Iterator[Containers]:
    """The engine inside the block; afterwards its containers, networks, volumes and mounts are gone.

    It sees `home/shared`, where the project's folder is. Raises SetupError.
    """
    kept = home / "docker"
    log = home / "dockerd.log"
    kept.mkdir(exist_ok=True)
    log.write_bytes(b"")
    script = (HERE / "own_root.sh").read_text()
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]
    docker = children.running(
        [*words, ROOTS["engine"].folder, kept, home / "shared"],
        name="dockerd",
        log=log,
        is_ready=lambda: "API listen on" in log.read_text(),
        within_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
        environment=os.environ | {"PATH": PATH},
    )
    with docker as child:
        pid = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text())
        found = Containers(pid=pid, folder=folder, instance=instance)
        found.clear()
        try:
            yield found
        finally:
            found.clear()
            os.kill(pid, signal.SIGTERM)  # unshare itself ignores it, and ends with dockerd
