"""`DEBIAN=13`: a command in a Debian 13 root, with its Python and servers, as root."""

import os
import signal
import sys
from pathlib import Path

from scripts.stack import SetupError, children, system_packages, throwaway

SCRIPT = Path(__file__).with_suffix(".sh")


def run(module: str, *words: str, purpose: str, django: str = "") -> int:
    """The exit code of the module with these words there, in an environment for that purpose of bootstrap.py.

    Environments are kept, one for each Django. In CI a Debian that can't be had is named, as an other server
    is.
    """
    root = system_packages.DEBIAN_13
    try:
        root.require(within_seconds=throwaway.ROOT_SECONDS)
    except (SetupError, OSError) as error:
        if not os.environ.get("CI"):
            raise
        print(f"*** NOT TESTED on {root.name}: {error} ***", file=sys.stderr, flush=True)
        return 0
    venv = root.folder / f"venv-{django or 'shipped'}"
    command = root.command("sh", str(SCRIPT), str(venv), django, purpose, module, *words, "--debian=")
    return children.run_to_end(
        command,
        stop_seconds=60,
        environment=os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        when_parent_dies=signal.SIGINT,
    )
