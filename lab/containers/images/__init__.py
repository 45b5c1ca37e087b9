"""The images that the compose file names, made from Debian's packages: no image registry is asked."""

import re
import subprocess
from pathlib import Path

from lab.containers import roots
from lab.containers.engine import Engine
from lab.containers.report import CheckFailed
from scripts.stack import places
from scripts.stack.debian import Root

FOLDER = Path(__file__).resolve().parent
UNSTABLE = "firstcome-debian-unstable"
"""What the stand-ins are built from."""
STAND_INS = {
    "mysql:8.4": "mysql",
    "redis:7.4-alpine": "redis",
    "rabbitmq:4.1-alpine": "rabbitmq",
    "prom/prometheus:v3.5.0": "prometheus",
    "haproxy:3.2-alpine": "haproxy",
}
"""The folder of each image that has a stand-in, by the name in docker-compose.yml."""
VERSIONS = {
    "mysql:8.4": ("mysqld", "--version"),
    "redis:7.4-alpine": ("redis-server", "--version"),
    "rabbitmq:4.1-alpine": ("dpkg-query", "--show", "--showformat=RabbitMQ ${Version}", "rabbitmq-server"),
    "haproxy:3.2-alpine": ("haproxy", "-v"),
    "prom/prometheus:v3.5.0": ("dpkg-query", "--show", "--showformat=Prometheus ${Version}", "prometheus"),
}
BUILD_SECONDS = 600


def base_image() -> str:
    """The image that the project's own are built from, by the Dockerfile."""
    [name] = re.findall(r"^ARG PYTHON=(\S+)", (places.PROJECT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return str(name)


def make_all(engine: Engine, shared: Path) -> None:
    """Import and build what is missing. Raises CheckFailed."""
    _import(engine, roots.UNSTABLE, UNSTABLE, "CMD bash")
    _import(engine, roots.PYTHON, base_image(), 'CMD ["python"]')
    for name, folder in STAND_INS.items():
        # Through the engine's own folder, because its root has no other of this machine's.
        target = shared / "images" / folder
        target.mkdir(parents=True, exist_ok=True)
        for file in (FOLDER / folder).iterdir():
            (target / file.name).write_bytes(file.read_bytes())
            (target / file.name).chmod(0o755)
        command = ["build", "--quiet", "--network", "host", "--tag", name, str(target)]
        engine.docker(*command, within_seconds=BUILD_SECONDS)


def versions(engine: Engine) -> str:
    """What the stand-ins have, and the engine itself; a line for each."""
    lines = [f"Docker {engine.docker('version', '--format', '{{.Server.Version}}')}"]
    lines.append(f"Compose {engine.docker('compose', 'version', '--short')}")
    for name, (program, *arguments) in VERSIONS.items():
        ran = engine.docker("run", "--rm", "--network=none", f"--entrypoint={program}", name, *arguments)
        lines.append(f"{name} is {ran.splitlines()[0].strip()}")
    python = engine.docker("run", "--rm", "--network=none", base_image(), "python", "--version")
    lines.append(f"{base_image()} is {python} of Debian's")
    return "\n".join(lines)


def _import(engine: Engine, root: Root, name: str, change: str) -> None:
    """Make an image of the root, unless there is one."""
    if engine.has_image(name):
        return
    packed = ["tar", "--directory", str(root.folder), "--create", "."]
    with subprocess.Popen(packed, stdout=subprocess.PIPE) as tar:
        done = subprocess.run(
            engine.command("docker", "import", "--change", change, "-", name),
            stdin=tar.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    if done.returncode != 0 or tar.returncode != 0:
        raise CheckFailed(f"importing {root.folder} as {name} failed: {done.stderr}")
