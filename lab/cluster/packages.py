"""What the cluster needs of the machine."""

import os

from scripts.stack import SetupError


def require_root(command: str) -> None:
    """Raise SetupError for another user: MySQL's servers run as root, by chroot."""
    if os.getuid() != 0:
        raise SetupError(f"NOT RUN: `{command}` needs root, as which MySQL runs: use `sudo {command}`")
