"""Debian's programs that the cluster needs, beside those of the Debian root of MySQL."""

import os
import shutil

from scripts.stack import SetupError
from scripts.stack.mariadb import SEARCH_PATH
from scripts.stack.programs import system_packages


def program(name: str) -> str:
    """The path of one of them. Raises SetupError with the line that installs it."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        line = system_packages.line_to_install([system_packages.CLUSTER_PROGRAMS[name]])
        raise SetupError(f"{name} is missing; run this first: {line}")
    return found


def require_root(command: str) -> None:
    """Raise SetupError for another user: MySQL's servers run as root, by chroot."""
    if os.getuid() != 0:
        raise SetupError(f"NOT RUN: `{command}` needs root, as which MySQL runs: use `sudo {command}`")
