"""The Docker engine: a dockerd that runs in its Debian root, with mounts and process ids of its own.

Nothing is installed on this machine, and no firewall rule is made: the engine has no bridge of its own, and
forwards nothing. Its process ids end with its first process, so that no container outlives this command,
however that ends. What it keeps between runs, images and caches of builds, is in a folder below `var/`.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.containers.report import CheckFailed
from lab.containers.roots import ENGINE
from scripts.stack import SetupError, children

START_SECONDS, STOP_SECONDS, COMMAND_SECONDS = 90, 60, 120
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_OWN_ROOT = """
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


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A dockerd that is running."""

    pid: int
    """Of its first process, by this machine's count."""
    folder: Path
    """Shared with this machine under the same path: where commands run."""

    def command(self, *words: str) -> list[str]:
        """A command line that runs with the engine's files, process ids, in its folder."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        settings = [f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "BUILDKIT_PROGRESS=plain"]
        there = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder)]
        return [*enter, "env", "-i", *settings, *there, *words]

    def run(
        self,
        *words: str,
        within_seconds: float = COMMAND_SECONDS,
        codes: tuple[int, ...] = (0,),
        text: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end, with the text as its input. Raises SetupError unless it succeeds."""
        ran = children.run(self.command(*words), within_seconds=within_seconds, text=text)
        if ran.returncode not in codes:
            end = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-12:])
            raise CheckFailed(f"`{' '.join(words)}` ended with {ran.returncode}:\n{end}")
        return ran

    def docker(self, *words: str, within_seconds: float = COMMAND_SECONDS) -> str:
        """What `docker …` prints, without the last line's end. Raises CheckFailed."""
        return self.run("docker", *words, within_seconds=within_seconds).stdout.strip()

    def inspect(self, name: str, template: str) -> str:
        """A value of a container, by Go's template. Raises CheckFailed where there is none."""
        return self.docker("inspect", "--format", template, name)

    def has_image(self, name: str) -> bool:
        return self.run("docker", "image", "inspect", name, codes=(0, 1)).returncode == 0

    def kill_process(self, pid: int) -> None:
        """SIGKILL the process of that id in the engine's count: to the engine it ended by itself."""
        self.run("sh", "-c", f"kill -9 {pid}")

    def clear(self) -> None:
        """Remove every container, network and volume: those of a run that was killed, too."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *containers)
        self.docker("network", "prune", "--force")
        self.docker("volume", "prune", "--all", "--force")


@contextmanager
def running_engine(home: Path, folder: Path, shared: Path) -> Iterator[Engine]:
    """The engine inside the block; afterwards its containers, networks, volumes and mounts are gone.

    It sees `shared`, and its commands run in `folder`, which is in there. Raises SetupError.
    """
    kept, log = home / "docker", home / "dockerd.log"
    kept.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    separate = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    words = [*separate, "sh", "-c", _OWN_ROOT, "sh", str(ENGINE.folder), str(kept), str(shared)]
    child = children.start(words, log=log, environment=os.environ | {"PATH": PATH})
    try:
        pid = _first_process(child)
        engine = Engine(pid=pid, folder=folder)
        children.wait_until(
            lambda: _answers(engine), name="dockerd", child=child, log=log, within_seconds=START_SECONDS
        )
        engine.clear()
        try:
            yield engine
        finally:
            engine.clear()
    finally:
        _stop(child)


def _first_process(child: "subprocess.Popen[bytes]") -> int:
    """The id of the process that `unshare` forked."""
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        found = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise CheckFailed(f"unshare ended with {child.returncode}: this needs root, and the right to mount")


def _answers(engine: Engine) -> bool:
    try:
        return engine.run("docker", "ps", codes=(0, 1), within_seconds=30).returncode == 0
    except SetupError:
        return False


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """Have dockerd end by itself, and end everything in its namespaces."""
    try:
        os.kill(_first_process(child), signal.SIGTERM)
        child.wait(timeout=STOP_SECONDS)
    except (CheckFailed, OSError, subprocess.TimeoutExpired):
        child.kill()
        child.wait()
