"""The previous release's processes in the cluster, beside those of this one."""

import io
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from lab.cluster import layout, overrides, supervision
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, places, waiting
from scripts.stack.readiness import readiness_problem

FILE = places.PROJECT / "scripts" / "previous_release.txt"
READY_SECONDS = 90


def exported(folder: Path) -> Path:
    """The folder with that release's files. Raises SetupError where the clone lacks its commit."""
    if folder.exists():
        return folder
    [commit] = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    ran = subprocess.run(
        ["git", "archive", "--format=zip", commit], cwd=places.PROJECT, capture_output=True, timeout=60
    )
    if ran.returncode != 0:
        raise SetupError(
            f"the previous release, {commit}, is missing in this clone: git fetch --unshallow makes it whole"
        )
    with zipfile.ZipFile(io.BytesIO(ran.stdout)) as archive:
        archive.extractall(folder)
    return folder


def roll(cluster: Cluster, names: Sequence[str], code: Path) -> str:
    """Restart each process as the previous release, and afterwards each as this one."""
    try:
        for name in names:
            overrides.write(cluster, name, code)
            _restart(cluster, name)
    finally:  # Also when one did not start: the next fault happens to this release.
        for name in names:
            overrides.remove(cluster, name)
        for name in names:
            _restart(cluster, name)
    return "web, worker and issuer, to the previous release and back"


def _restart(cluster: Cluster, name: str) -> None:
    supervision.stop(cluster, name)
    supervision.start(cluster, name)
    _wait_ready(cluster, name)


def _wait_ready(cluster: Cluster, name: str) -> None:
    """Return once a web node serves, or another process runs. Raises SetupError."""
    kind, number = layout.split(name)

    def is_ready() -> bool:
        is_up = supervision.states(cluster)[name] == "RUNNING"
        return is_up and (kind != "web" or not readiness_problem(cluster.port("web", number)))

    late = f"{name} was not ready {READY_SECONDS} s after its restart"
    waiting.until(is_ready, late, within_seconds=READY_SECONDS)
