"""What a drill changes about one process: its control group, and the code with which it starts.

A cluster without a drill has none of it. Each process looks at its start, so a change needs a restart.
"""

import os
from pathlib import Path

from lab.cluster.layout import Cluster
from scripts.stack import places

GROUPS = "FIRSTCOME_CONTROL_GROUPS"
"""In the environment: the folder of control groups. Rules name a process by its own group."""


def write(cluster: Cluster, name: str, code: Path) -> None:
    """Have the process start with another release's code from now on."""
    places.private_folder(_folder(cluster))
    places.write_whole(_folder(cluster) / name, str(code), mode=0o600)


def remove(cluster: Cluster, name: str) -> None:
    """Have the process start as all others do."""
    (_folder(cluster) / name).unlink(missing_ok=True)


def read(cluster: Cluster, name: str) -> Path | None:
    """The code with which the process starts, if that differs."""
    path = _folder(cluster) / name
    return Path(path.read_text()) if path.exists() else None


def join_group(name: str) -> None:
    """Move this process, and all that it becomes and starts, into the control group of that name."""
    folder = os.environ.get(GROUPS)
    if folder:
        group = Path(folder) / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _folder(cluster: Cluster) -> Path:
    return cluster.home / "overrides"
